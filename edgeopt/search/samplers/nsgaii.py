"""NSGA-II: evolution with crossover; infeasible candidates lose to feasible ones.

Source: Deb et al., A Fast and Elitist Multiobjective Genetic Algorithm: NSGA-II, 2002.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from edgeopt.search.samplers import Example
from edgeopt.search.samplers._examples import LONG, SMALL

if TYPE_CHECKING:
    from optuna.samplers import BaseSampler

    from edgeopt.search.context import SearchContext

EXAMPLES = (Example(SMALL), Example(LONG))
POPULATION = 10
"""Small: a budget is tens of trials, and Optuna's 50 would never leave the first generation."""


def create(context: SearchContext) -> BaseSampler:
    """Optuna's `NSGAIISampler`."""
    from optuna.samplers import NSGAIISampler

    from edgeopt.search.samplers._seeded import SeededPerTrial

    return SeededPerTrial(lambda seed: NSGAIISampler(population_size=POPULATION, seed=seed), context.seed)
