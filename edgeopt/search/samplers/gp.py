"""Gaussian process with expected improvement, on a Hamming kernel: precise in small spaces."""

from __future__ import annotations

from typing import TYPE_CHECKING

from edgeopt.core.errors import ConfigError
from edgeopt.search.samplers import Example
from edgeopt.search.samplers._examples import LONG, SMALL, chain

if TYPE_CHECKING:
    from optuna.samplers import BaseSampler

    from edgeopt.search.context import SearchContext

MOST_POINTS = 100
"""Its kernel has a length scale per decision: more than this cannot be told from tens of trials, and each
proposal would take minutes."""
EXAMPLES = (Example(SMALL), Example(LONG), Example(chain(MOST_POINTS), refused="decisions"))


def create(context: SearchContext) -> BaseSampler:
    """Optuna's `GPSampler`.

    Raises:
        ConfigError: More than `MOST_POINTS` decisions.
    """
    from optuna.samplers import GPSampler

    from edgeopt.search.samplers._seeded import SeededPerTrial

    free = sum(len(point.options) > 1 for point in context.space.points)
    if free > MOST_POINTS:
        raise ConfigError(
            f"sampler gp handles at most {MOST_POINTS} decisions, this model has {free}",
            hint="use ppo, which shares what it learns between repeated blocks, or tpe",
        )
    return SeededPerTrial(lambda seed: GPSampler(seed=seed, n_startup_trials=8), context.seed)
