"""CMA-ES, always refused: known by name so that asking for it is answered with the reason."""

from __future__ import annotations

from typing import TYPE_CHECKING

from edgeopt.core.errors import ConfigError
from edgeopt.search.samplers import Example
from edgeopt.search.samplers._examples import SMALL

if TYPE_CHECKING:
    from optuna.samplers import BaseSampler

    from edgeopt.search.context import SearchContext

EXAMPLES = (Example(SMALL, refused="categories"),)


def create(context: SearchContext) -> BaseSampler:
    """Refuse.

    Raises:
        ConfigError: Always: CMA-ES adapts a covariance between numbers, and decisions are categories.
    """
    raise ConfigError(
        f"sampler cmaes searches numbers, and the {len(context.space.points)} decisions here are categories",
        hint="use ppo (the default), tpe or nsgaii",
    )
