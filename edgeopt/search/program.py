"""The additive-plus-boundary model as a mixed-integer linear program, solved exactly by HiGHS.

    minimise    sum_p price[p, k] x[p, k]  +  sum_e boundary[e, a, b] y[e, a, b]
    subject to  each point takes one option; y[e] is the product of the words at both ends of edge e;
                sum of losses <= what is allowed; each hard limit, linear in the same variables;
                for each candidate that was tried: it differs in at least one decision.

y stays continuous: with x whole, its marginals leave it no choice. On a graph without cycles the relaxation
of the first two rows is exact already, so that there HiGHS hardly branches.

Source: Wainwright and Jordan, Graphical Models, Exponential Families, and Variational Inference, 2008,
section 8.4 (the local polytope, tight on trees).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from scipy.sparse import csr_array

from edgeopt.search.bayes import Floats
from edgeopt.search.layout import Codes, Layout

GAP = 1e-4
"""Relative: far below what a measurement can tell."""
NODES = 2000
"""Of the branching tree: a fixed number, so that the same question has the same answer on a busy machine."""


@dataclass(frozen=True, slots=True)
class Linear:
    """`constant + sum of options' prices + sum of boundaries`, of a candidate.

    Attributes:
        options: `(P, K)`.
        boundaries: `(E, V, V)` by the words at both ends; zeros where nothing depends on them.
    """

    options: Floats
    boundaries: Floats | None = None


class Program:
    """The variables and constraints of one space; objective, limits and cuts are given for each question."""

    def __init__(self, layout: Layout) -> None:
        self.layout = layout
        self._first = np.concatenate([[0], np.cumsum(layout.options)]).astype(np.intp)
        self._choices = int(self._first[-1])
        self._ends = [self._end(e) for e in range(len(layout.edges))]
        self._free = [e for e, (a, b) in enumerate(self._ends) if a is not None and b is not None]
        sizes = [len(self._words(e, 0)) * len(self._words(e, 1)) for e in self._free]
        self._starts = self._choices + np.concatenate([[0], np.cumsum(sizes)]).astype(np.intp)
        self.count = int(self._starts[-1])
        self._structure = self._equalities()

    def minimum(
        self, objective: Linear, limits: Sequence[tuple[Linear, float]], tried: Codes
    ) -> Codes | None:
        """`(P,)` the best candidate that keeps `limits` (value <= bound) and is none of `tried` `(T, P)`.

        None where there is none, or none was found within `NODES`.
        """
        from scipy.optimize import Bounds, LinearConstraint, milp

        equal, right = self._structure
        constraints = [LinearConstraint(equal, right, right)]
        for linear, bound in limits:
            row, constant = self._row(linear)
            constraints.append(LinearConstraint(row[None], -np.inf, bound - constant))
        if len(tried):
            columns = (self._first[:-1] + tried).ravel()
            rows = np.repeat(np.arange(len(tried)), self.layout.count)
            cuts = csr_array((np.ones(len(columns)), (rows, columns)), shape=(len(tried), self.count))
            constraints.append(LinearConstraint(cuts, -np.inf, self.layout.count - 1))
        whole = np.zeros(self.count)
        whole[: self._choices] = 1
        found = milp(
            self._row(objective)[0],
            integrality=whole,
            bounds=Bounds(0, 1),
            constraints=constraints,
            options={"mip_rel_gap": GAP, "node_limit": NODES},
        )
        if found.x is None:
            return None
        parts = np.split(found.x[: self._choices], self._first[1:-1])
        return np.array([int(np.argmax(part)) for part in parts], dtype=np.intp)

    def _end(self, edge: int) -> tuple[int | None, int | None]:
        a, b = (int(p) if p < self.layout.count else None for p in self.layout.edges[edge])
        return a, b

    def _words(self, edge: int, end: int) -> Codes:
        """Word of each option of the point at one end of an edge."""
        p = self._ends[edge][end]
        if p is None:
            return np.zeros(1, dtype=np.intp)
        return np.asarray(self.layout.word[p, : self.layout.options[p]])

    def _row(self, linear: Linear) -> tuple[Floats, float]:
        """Coefficient of every variable, and a constant."""
        row, constant = np.zeros(self.count), 0.0
        for p, n in enumerate(self.layout.options):
            row[self._first[p] : self._first[p] + n] = linear.options[p, :n]
        if linear.boundaries is None:
            return row, constant
        starts = dict(zip(self._free, self._starts, strict=False))
        for e, (a, b) in enumerate(self._ends):
            prices = linear.boundaries[e][np.ix_(self._words(e, 0), self._words(e, 1))].ravel()
            if e in starts:
                row[starts[e] : starts[e] + len(prices)] = prices
            elif a is not None or b is not None:  # the other end speaks the default's word
                first = self._first[a if a is not None else b]
                row[first : first + len(prices)] += prices
            else:
                constant += float(prices.sum())
        return row, constant

    def _equalities(self) -> tuple[csr_array, Floats]:
        """One option a point; each y's marginals are the options at its ends."""
        entries: list[tuple[int, int, float]] = []
        right: list[float] = []
        for p, n in enumerate(self.layout.options):
            entries += [(len(right), int(self._first[p]) + k, 1.0) for k in range(n)]
            right.append(1.0)
        for start, e in zip(self._starts[:-1], self._free, strict=True):
            a, b = self._ends[e]
            assert a is not None and b is not None  # noqa: S101, PT018 - that is what free means
            table = int(start) + np.arange(self.layout.options[a] * self.layout.options[b]).reshape(
                self.layout.options[a], self.layout.options[b]
            )
            for point, marginals in ((a, table), (b, table.T)):
                for k, cells in enumerate(marginals):
                    entries += [(len(right), int(cell), 1.0) for cell in cells]
                    entries.append((len(right), int(self._first[point]) + k, -1.0))
                    right.append(0.0)
        rows, columns, values = zip(*entries, strict=True) if entries else ((), (), ())
        return csr_array((values, (rows, columns)), shape=(len(right), self.count)), np.array(right)
