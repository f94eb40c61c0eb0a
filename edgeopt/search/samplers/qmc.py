"""Quasi-Monte Carlo: a scrambled Sobol sequence, which covers the space more evenly than random draws."""

from __future__ import annotations

import logging
import warnings
from typing import TYPE_CHECKING

from edgeopt.core.errors import ConfigError
from edgeopt.search.samplers import Example
from edgeopt.search.samplers._examples import LONG, SMALL

if TYPE_CHECKING:
    from optuna.samplers import BaseSampler

    from edgeopt.search.context import SearchContext

EXAMPLES = (Example(SMALL), Example(LONG))
MOST_POINTS = 21_201
"""Dimensions of scipy's Sobol direction numbers."""


def create(context: SearchContext) -> BaseSampler:
    """Optuna's `QMCSampler`; it keeps its place in the sequence in the study, so resuming is exact.

    Raises:
        ConfigError: More decisions than the Sobol sequence has dimensions.
    """
    from optuna.exceptions import ExperimentalWarning
    from optuna.samplers import QMCSampler

    if len(context.space.points) > MOST_POINTS:
        raise ConfigError(f"sampler qmc handles at most {MOST_POINTS} decisions", hint="use ppo or random")
    logging.getLogger("optuna").setLevel(logging.ERROR)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ExperimentalWarning)  # of its interface, not of its results
        return QMCSampler(scramble=True, seed=context.seed, warn_independent_sampling=False)
