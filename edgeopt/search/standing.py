"""What was tried so far, encoded: all that samplers need which fit no model."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from edgeopt.search.acquisition import fresh
from edgeopt.search.bayes import Floats
from edgeopt.search.context import SearchContext, size
from edgeopt.search.layout import Codes, Layout
from edgeopt.search.neighbours import everything, mutate

VARIANTS = 64
ROUNDS = 8
SMALL_SPACE = 4096


class Standing:
    """The finished trials of a study and those under way.

    Attributes:
        trials: Finished, oldest first.
        codes: `(N, P)` of these.
        values: `(N,)` the objective's figure; infinite where a constraint is broken or nothing is known.
        given: `(N,)` true of the baseline and the references: what the search did not propose.
        tried: `(N + R, P)` also those under way.
    """

    def __init__(self, layout: Layout, context: SearchContext, running: Sequence[Mapping[str, str]]) -> None:
        self.layout, self._space = layout, context.space
        self.trials = context.history()
        self.codes = layout.encode([t.candidate for t in self.trials])
        figures = [context.objective.of_trial(t) for t in self.trials]
        self.values: Floats = np.array([np.inf if f is None else f for f in figures], dtype=np.float64)
        self.given = np.array([t.kind != "candidate" for t in self.trials], dtype=bool)
        pending = layout.encode(context.pending(running))
        self.tried: Codes = np.concatenate([self.codes, pending])

    def best(self, among: np.ndarray | None = None) -> Codes | None:
        """`(P,)` the best feasible trial, of those that a mask `(N,)` picks; None where there is none."""
        values = self.values if among is None else np.where(among, self.values, np.inf)
        if not np.isfinite(values).any():
            return None
        return np.asarray(self.codes[int(np.argmin(values))])

    def variant(self, parents: Codes, rng: np.random.Generator) -> Codes:
        """`(P,)` a variant of `parents` `(M, P)` that was not tried: near ones first, then farther ones.

        Where everything was tried it is the first parent again: the study ends on its own.
        """
        around = parents
        for _ in range(ROUNDS):
            around = mutate(self.layout, around, VARIANTS, rng)
            if len(found := fresh(around, self.tried)):
                return np.asarray(found[0])
        left = fresh(everything(self.layout), self.tried) if size(self._space) <= SMALL_SPACE else around[:0]
        return np.asarray(left[rng.integers(len(left))] if len(left) else parents[0])
