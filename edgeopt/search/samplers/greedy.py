"""Greedy by sensitivity: lossy decisions in the order of predicted gain per accuracy lost, while feasible.

1. For each precision scheme, and for each region's own best scheme: sort the regions by what the scheme gains
   there per what it is expected to lose, both as the references alone say. How many of them keep every
   constraint is found by bisection, measuring; the scheme that is fastest everywhere comes first.
2. Then the best so far is changed in one decision at a time: runtime, rewrites and the ways to quantize
   first, by predicted gain, then precisions.

No randomness: every seed proposes the same.

Source: Dong et al., HAWQ, 2019, section 3 (sort by sensitivity); Wu et al., Integer Quantization for Deep
Learning Inference, 2020, section 5.3 (partial quantization by a sensitivity order).
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np

from edgeopt.search.accuracy import LOSSY
from edgeopt.search.bayes import Floats
from edgeopt.search.layout import FAMILIES, Codes, Layout
from edgeopt.search.samplers import Example
from edgeopt.search.samplers._examples import LONG, SMALL
from edgeopt.search.standing import Standing
from edgeopt.search.surrogate import Surrogate

if TYPE_CHECKING:
    from optuna.samplers import BaseSampler

    from edgeopt.search.context import SearchContext

EXAMPLES = (Example(SMALL), Example(LONG))

LEAST_LOSS = 1e-3
"""Of what is allowed: the loss of an option of which nothing is known to be lost."""

Step = tuple[int, int]
"""A point and the option that it takes."""


def create(context: SearchContext) -> BaseSampler:
    """The sampler, as Optuna calls it."""
    from edgeopt.search.samplers._joint import JointSampler

    return JointSampler(Greedy(context).propose)


class Greedy:
    """Proposes for one context; everything is found anew from the trials, so nothing is remembered."""

    def __init__(self, context: SearchContext) -> None:
        self.context, self.layout = context, Layout(context.space)
        self._lossy = np.array([point.family in LOSSY for point in context.space.points], dtype=bool)
        self._precision = np.flatnonzero(self.layout.family == FAMILIES.index("precision"))

    def propose(self, number: int, running: list[dict[str, Any]]) -> dict[str, str]:
        """Decisions for trial `number`."""
        standing = Standing(self.layout, self.context, running)
        known = _outcomes(standing)
        gain, ratio, surrogate = self._priorities(standing)
        base = self._lossless(standing)
        for path in self._paths(base, ratio, gain, surrogate):
            if (row := _bisect(base, path, known)) is not None:
                return self._decisions(row)
        best = standing.best()
        best = base if best is None else best
        for p, k in self._single_changes(best, gain, ratio):
            row = best.copy()
            row[p] = k
            if row.tobytes() not in known:
                return self._decisions(row)
        rng = np.random.default_rng([self.context.seed, number])
        return self._decisions(standing.variant(best[None], rng))

    def _decisions(self, row: Codes) -> dict[str, str]:
        return dict(self.layout.decode(row).decisions)

    def _priorities(self, standing: Standing) -> tuple[Floats, Floats, Surrogate]:
        """`(P, K)` predicted gain of each option, and gain per loss, from the references alone.

        What the search measures must not change the order while it bisects along it.
        """
        given = [t for t, is_given in zip(standing.trials, standing.given, strict=True) if is_given]
        surrogate = Surrogate(self.layout, replace(self.context, history=lambda: given))
        gain = -surrogate.objective.option_prices()[0]
        loss = np.full(gain.shape, LEAST_LOSS)
        if surrogate.accuracy is not None and surrogate.allowed_drop:
            loss = np.maximum(surrogate.accuracy.option_drops()[0] / surrogate.allowed_drop, LEAST_LOSS)
        return gain, np.where(gain > 0, gain / loss, gain), surrogate

    def _lossless(self, standing: Standing) -> Codes:
        """`(P,)` the best reference that loses nothing by construction."""
        changed = (standing.codes != self.layout.default)[:, self._lossy].any(axis=1)
        best = standing.best(standing.given & ~changed)
        return self.layout.default if best is None else best

    def _paths(self, base: Codes, ratio: Floats, gain: Floats, surrogate: Surrogate) -> list[list[Step]]:
        """Steps of each path in order; the path that is predicted fastest in full length first."""
        paths: list[list[Step]] = []
        for word in range(1, len(self.layout.words)):
            paths.append([(p, k) for p, k in self._options() if self.layout.word[p, k] == word])
        best: dict[int, Step] = {}
        for p, k in self._options():
            if p not in best or ratio[p, k] > ratio[best[p]]:
                best[p] = (p, k)
        paths.append([step for step in best.values() if gain[step] > 0])
        paths = [sorted(path, key=lambda step: (-ratio[step], step)) for path in paths if path]
        if not paths:
            return []
        rows = np.array([_taken(base, path, len(path)) for path in paths])
        order = np.argsort(surrogate.predict(rows)[0], kind="stable")
        return [paths[n] for n in order]

    def _options(self) -> Iterator[Step]:
        for p in map(int, self._precision):
            for k in range(self.layout.options[p]):
                if k != self.layout.default[p]:
                    yield p, k

    def _single_changes(self, best: Codes, gain: Floats, ratio: Floats) -> list[Step]:
        precision = set(map(int, self._precision))
        steps = [
            (p, k) for p in range(self.layout.count) for k in range(self.layout.options[p]) if k != best[p]
        ]

        def priority(step: Step) -> tuple[bool, float, Step]:
            p, k = step
            worth = ratio if p in precision else gain
            return (p in precision, float(worth[p, best[p]] - worth[p, k]), step)

        return sorted(steps, key=priority)


def _outcomes(standing: Standing) -> Mapping[bytes, bool]:
    """Whether each candidate kept every constraint; one that is under way is taken to."""
    known = {row.tobytes(): True for row in standing.tried}
    pairs = zip(standing.codes, standing.trials, strict=True)
    return known | {row.tobytes(): trial.state == "COMPLETE" for row, trial in pairs}


def _taken(base: Codes, path: list[Step], count: int) -> Codes:
    row = base.copy()
    for p, k in path[:count]:
        row[p] = k
    return row


def _bisect(base: Codes, path: list[Step], known: Mapping[bytes, bool]) -> Codes | None:
    """`(P,)` what must be measured next to find how many steps are feasible; None where that is known."""
    low, high, count = 0, len(path) + 1, len(path)
    while high - low > 1:
        row = _taken(base, path, count)
        is_feasible = known.get(row.tobytes())
        if is_feasible is None:
            return row
        low, high = (count, high) if is_feasible else (low, count)
        count = (low + high) // 2
    return None
