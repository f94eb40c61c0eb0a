"""Every candidate once, in random order: certain, where the space is small enough."""

from __future__ import annotations

import warnings
from typing import TYPE_CHECKING

from edgeopt.core.errors import ConfigError
from edgeopt.search.context import size
from edgeopt.search.samplers import Example
from edgeopt.search.samplers._examples import LONG, SMALL

if TYPE_CHECKING:
    from optuna.samplers import BaseSampler

    from edgeopt.search.context import SearchContext

LARGEST = 100_000
"""Days of measuring; more than this is a mistake."""
EXAMPLES = (Example(SMALL), Example(LONG, refused="candidates"))


def create(context: SearchContext) -> BaseSampler:
    """Optuna's `BruteForceSampler`.

    Raises:
        ConfigError: The space has more than `LARGEST` candidates, or options that only some of them have.
    """
    from optuna.exceptions import ExperimentalWarning
    from optuna.samplers import BruteForceSampler

    from edgeopt.search.samplers._seeded import SeededPerTrial

    if len(context.space.runtimes) > 1:
        raise ConfigError(
            "sampler bruteforce would try again and again what a runtime does not have",
            hint="--runtime onnxruntime or --runtime litert",
        )
    count = size(context.space)
    if count > LARGEST:
        raise ConfigError(
            f"sampler bruteforce would try all {float(count):.2g} candidates, {LARGEST} is its limit",
            hint="use ppo or tpe",
        )

    def make(seed: int) -> BaseSampler:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", ExperimentalWarning)  # of its interface, not of its results
            return BruteForceSampler(seed=seed)

    return SeededPerTrial(make, context.seed)
