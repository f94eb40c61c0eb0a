"""NSGA-III: NSGA-II with reference points.

Source: Deb and Jain, An Evolutionary Many-Objective Optimization Algorithm, part I, 2014.
"""

from __future__ import annotations

import warnings
from typing import TYPE_CHECKING

from edgeopt.search.samplers import Example
from edgeopt.search.samplers._examples import LONG, SMALL
from edgeopt.search.samplers.nsgaii import POPULATION

if TYPE_CHECKING:
    from optuna.samplers import BaseSampler

    from edgeopt.search.context import SearchContext

EXAMPLES = (Example(SMALL), Example(LONG))


def create(context: SearchContext) -> BaseSampler:
    """Optuna's `NSGAIIISampler`."""
    from optuna.exceptions import ExperimentalWarning
    from optuna.samplers import NSGAIIISampler

    from edgeopt.search.samplers._seeded import SeededPerTrial

    def make(seed: int) -> BaseSampler:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", ExperimentalWarning)  # of its interface, not of its results
            return NSGAIIISampler(population_size=POPULATION, seed=seed)

    return SeededPerTrial(make, context.seed)
