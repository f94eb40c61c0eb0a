"""Uniformly random candidates: the baseline that every other sampler must beat."""

from __future__ import annotations

from typing import TYPE_CHECKING

from edgeopt.search.samplers import Example
from edgeopt.search.samplers._examples import LONG, SMALL

if TYPE_CHECKING:
    from optuna.samplers import BaseSampler

    from edgeopt.search.context import SearchContext

EXAMPLES = (Example(SMALL), Example(LONG))


def create(context: SearchContext) -> BaseSampler:
    """Optuna's `RandomSampler`."""
    from optuna.samplers import RandomSampler

    from edgeopt.search.samplers._seeded import SeededPerTrial

    return SeededPerTrial(RandomSampler, context.seed)
