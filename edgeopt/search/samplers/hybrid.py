"""Architecture search and reinforcement learning together: evolution proposes structures, a policy the rest.

One proposal:

1. Fit the surrogate on all trials so far.
2. Evolve structures on it: from those of the best trials, hundreds of variants over a few generations, each
   worth what the surrogate expects of it with the best trials' other decisions. No measurement is spent.
3. Train the policy; half of its episodes find one of these structures decided, with its cost and its loss of
   accuracy. Then one pass for each assigns rewrites, precision and runtime.
4. From there as `ppo`: refine, rank, propose the one with the largest expected improvement. The measurement
   corrects the surrogate, and with it both.

Where the space decides on no structure this is `ppo`.

Source: Cai et al., Once-for-All, 2020 (evolution on predictors of accuracy and latency); Wang et al., APQ,
2020 (architecture and quantization searched together); `ppo` for the rest.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from edgeopt.search.acquisition import merit
from edgeopt.search.layout import Codes, Layout
from edgeopt.search.neighbours import mutate
from edgeopt.search.samplers import Example
from edgeopt.search.samplers._examples import STRUCTURED
from edgeopt.search.samplers.ppo import Ppo
from edgeopt.search.surrogate import Surrogate

if TYPE_CHECKING:
    from optuna.samplers import BaseSampler

    from edgeopt.search.context import SearchContext

EXAMPLES = (Example(STRUCTURED),)
TAKES_POLICY = True
"""It starts from `SearchContext.policy`."""

POPULATION = 16
"""Structures that survive a generation, and that the policy dresses."""
CHILDREN = 96
GENERATIONS = 6
DRESSES = 4
"""Best trials whose other decisions a structure is judged with."""


def create(context: SearchContext) -> BaseSampler:
    """The sampler, as Optuna calls it."""
    from edgeopt.search.samplers._joint import JointSampler

    hybrid = Hybrid(context)
    return JointSampler(hybrid.propose, lambda: hybrid.predicted)


class Hybrid(Ppo):
    """Proposes encoded candidates for one context."""

    def _structures(self, surrogate: Surrogate, rng: np.random.Generator) -> Codes | None:
        free = self.layout.points_of("structure")
        if not len(free):
            return None
        found = evolved(self.layout, surrogate, free, rng)
        given = np.full_like(found, -1)
        given[:, free] = found[:, free]
        return given


def evolved(layout: Layout, surrogate: Surrogate, free: Codes, rng: np.random.Generator) -> Codes:
    """`(<= POPULATION, P)` structures that the surrogate expects most of, best first.

    Args:
        free: Points of the structure; all other columns of the result are the default's.
    """
    elite = surrogate.elite(POPULATION)
    dresses = elite[:DRESSES] if len(elite) else layout.default[None]
    population = np.tile(layout.default, (len(elite) + 1, 1))
    population[1:, free] = elite[:, free]
    for _ in range(GENERATIONS):
        children = mutate(layout, population, CHILDREN, rng, free)
        population = np.unique(np.concatenate([population, children]), axis=0)
        worth = np.max([merit(surrogate, _dressed(population, dress, free)) for dress in dresses], axis=0)
        population = population[np.argsort(-worth, kind="stable")[:POPULATION]]
    return population


def _dressed(structures: Codes, dress: Codes, free: Codes) -> Codes:
    rows = np.tile(dress, (len(structures), 1))
    rows[:, free] = structures[:, free]
    return rows
