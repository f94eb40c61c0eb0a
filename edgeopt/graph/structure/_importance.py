"""Sorts the units of a group by what the layers that read them would lose: any width is then a prefix.

A layer y = W x reads x with covariance C on calibration data. If the others make up for it as well as least
squares can, leaving out the columns of unit u costs

    tr(W_u [(C^-1)_uu]^-1 W_u')

of the energy of y; its mean is made up for by the bias. The units that cost least go first, a few at a time,
and W and C^-1 are updated to what is then left. The costs of several layers, each as a share of the energy of
its own output, are added up. A layer with more than `MOST_INPUTS` columns, or of which nothing is known, is
judged column by column, by |W_u|^2 times the variance.

Source: Hassibi & Stork 1993 (Optimal Brain Surgeon), equation 5, with a unit in place of a weight; Frantar &
Alistarh 2022 (arXiv:2208.11580), section 4.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from edgeopt.graph.structure._channels import Numbers
from edgeopt.graph.structure._groups import Group, Structure
from edgeopt.graph.structure._knowledge import Knowledge
from edgeopt.graph.structure._weights import Doubles, Matrix

MOST_INPUTS = 1152
"""As many columns as `moments.BLOCK`: then all covariances are known."""

STEPS = 64
"""In which the units go, at most."""

DAMPING = 0.01
"""Of the mean variance of the inputs, added to each."""


def order(structure: Structure, group: Group, knowledge: Knowledge) -> Numbers:
    """Positions in `group.units`, the most important first.

    Raises:
        CandidateFailed: A calibration sample cannot be computed.
    """
    found = [(cut, Matrix.of(cut.node, cut.index)) for cut in group.readers]
    matrices = [(cut, matrix) for cut, matrix in found if matrix is not None]
    knowledge.prepare(matrix.reads for _, matrix in matrices)
    readers = [
        _Reader.of(matrix, _columns(structure.unit[cut.numbers], group.units, matrix.taps), knowledge)
        for cut, matrix in matrices
    ]
    left, gone = np.arange(len(group.units)), []
    while len(left) and readers:
        cost = sum((reader.costs(left) for reader in readers), np.zeros(len(left)))
        count = max(1, -(-len(group.units) // STEPS)) if len(left) > 1 else 1
        worst = left[np.argsort(cost, kind="stable")[:count]]
        for reader in readers:
            reader.remove(worst)
        gone += worst.tolist()
        left = np.setdiff1d(left, worst)
    return np.asarray(gone[::-1] or range(len(group.units)), np.int64)


def _columns(unit_of: Numbers, units: Numbers, taps: int) -> list[Numbers]:
    """The columns of a matrix that belong to each unit."""
    places = {unit: np.flatnonzero(unit_of == unit) for unit in units.tolist()}
    return [(places[unit][:, None] * taps + np.arange(taps)).reshape(-1) for unit in units.tolist()]


@dataclass(slots=True)
class _Reader:
    """A layer, as far as its units are left.

    Attributes:
        columns: Of each unit.
        weight: (m, n), of what is left, made up for what is gone.
        inverse: (n, n), of the covariance of what is left; None where columns are judged one by one.
        variance: (n,).
        energy: Of the output.
    """

    columns: list[Numbers]
    weight: Doubles
    inverse: Doubles | None
    variance: Doubles
    energy: float

    @classmethod
    def of(cls, matrix: Matrix, columns: list[Numbers], knowledge: Knowledge) -> _Reader:
        weight = matrix.values[0]
        moments = knowledge.moments(matrix.reads)
        n = weight.shape[1]
        if moments is None:
            return cls(columns, weight, None, np.ones(n), float((weight**2).sum()) or 1.0)
        blocks = [block[0].astype(np.float64) for block in moments.covariance]
        variance = np.concatenate([np.diag(block) for block in blocks])
        if n > MOST_INPUTS or len(blocks) > 1:
            return cls(columns, weight, None, variance, float((weight**2 @ variance).sum()) or 1.0)
        damped = blocks[0] + (DAMPING * float(variance.mean()) or 1.0) * np.eye(n)
        energy = float(np.einsum("mi,ij,mj->", weight, blocks[0], weight, optimize=True))
        return cls(columns, weight, np.linalg.inv(damped), variance, energy if energy > 0 else 1.0)

    def costs(self, units: Numbers) -> Doubles:
        """Of leaving out each of these units, as a share of the output's energy."""
        if self.inverse is None:
            each = (self.weight**2).sum(axis=0) * self.variance
            return np.asarray([each[self.columns[unit]].sum() for unit in units]) / self.energy
        costs = np.empty(len(units))
        for index, unit in enumerate(units):
            own = self.columns[unit]
            part = self.weight[:, own]
            costs[index] = np.einsum("mi,im->", part, np.linalg.solve(self.inverse[np.ix_(own, own)], part.T))
        return costs / self.energy

    def remove(self, units: Numbers) -> None:
        """Leave units out, and let the others make up for them."""
        if self.inverse is None:
            return
        own = np.concatenate([self.columns[unit] for unit in units])
        across = np.linalg.solve(self.inverse[np.ix_(own, own)], self.inverse[own])
        self.weight = self.weight - self.weight[:, own] @ across
        self.inverse = self.inverse - self.inverse[:, own] @ across
        self.inverse[own, own] = 1.0  # gone: never looked at again


def kept(sorted_units: Numbers, count: int) -> NDArray[np.int64]:
    """The `count` most important units, in their own order: a width is a slice."""
    return np.sort(sorted_units[:count])
