"""Architecture search alone: regularised evolution over the structure, all else as in the best reference.

It tells what structure is worth by itself. Once every structure near the good ones was tried, it goes on
with small changes of everything.

Source: see `evolution`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from edgeopt.core.errors import ConfigError
from edgeopt.search.layout import Codes, Layout
from edgeopt.search.samplers import Example
from edgeopt.search.samplers._examples import LONG, STRUCTURED
from edgeopt.search.samplers.evolution import child, winner
from edgeopt.search.standing import Standing

if TYPE_CHECKING:
    from optuna.samplers import BaseSampler

    from edgeopt.search.context import SearchContext

EXAMPLES = (Example(STRUCTURED), Example(LONG, refused="structure"))


def create(context: SearchContext) -> BaseSampler:
    """The sampler, as Optuna calls it.

    Raises:
        ConfigError: The space has no structure decision.
    """
    from edgeopt.search.samplers._joint import from_standing

    layout = Layout(context.space)
    free = layout.points_of("structure")
    if not len(free):
        raise ConfigError(
            "sampler nas decides on structure, and nothing of this model's structure can be decided",
            hint="--structure decides on it where it can; evolution searches all decisions the same way",
        )

    def choose(standing: Standing, rng: np.random.Generator) -> Codes:
        reference = standing.best(standing.given)
        base = (layout.default if reference is None else reference).copy()
        base[free] = winner(standing, rng)[free]
        row = child(layout, base, free, standing.tried, rng)
        return standing.variant(base[None], rng) if row is None else row

    return from_standing(context, layout, choose)
