"""Iterated local search: small changes of the best, one at a time, until it stays the best for long.

It starts from the best reference. A proposal changes the incumbent by one move (one to three decisions, a
whole pattern, a run of regions); a better one becomes the incumbent. After `PATIENCE` moves in vain the best
trial of all is kicked, and the search goes on from where it lands, better or not.

Source: Lourenço, Martin and Stützle, Iterated Local Search, 2003 (acceptance: better; kick: `KICK` moves).
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from edgeopt.search.layout import Codes, Layout
from edgeopt.search.neighbours import mutate
from edgeopt.search.samplers import Example
from edgeopt.search.samplers._examples import LONG, SMALL
from edgeopt.search.standing import Standing

if TYPE_CHECKING:
    from optuna.samplers import BaseSampler

    from edgeopt.search.context import SearchContext

EXAMPLES = (Example(SMALL), Example(LONG))

PATIENCE = 12
KICK = 4


def create(context: SearchContext) -> BaseSampler:
    """The sampler, as Optuna calls it."""
    from edgeopt.search.samplers._joint import from_standing

    layout = Layout(context.space)

    def choose(standing: Standing, rng: np.random.Generator) -> Codes:
        centre = incumbent(standing)
        if centre is None:
            best = standing.best()
            centre = layout.default if best is None else best
            for _ in range(KICK):
                centre = mutate(layout, centre[None], 1, rng)[0]
        return standing.variant(centre[None], rng)

    return from_standing(context, layout, choose)


def incumbent(standing: Standing) -> Codes | None:
    """`(P,)` where the search stands, from the trials alone; None when it is time to begin elsewhere."""
    centre: Codes | None = None
    best, in_vain = np.inf, 0
    for row, value, given in zip(standing.codes, standing.values, standing.given, strict=True):
        if value < best:
            centre, best, in_vain = row, value, 0
        elif not given and centre is not None:
            in_vain += 1
            if in_vain >= PATIENCE:
                centre, best = None, np.inf
    return centre
