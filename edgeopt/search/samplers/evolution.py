"""Regularised evolution: a tournament picks a parent, one change makes its child, and the oldest dies.

What a child inherits is kept only as long as it goes on to win tournaments: a lucky measurement ages away.
The references are the first population. A change is of one decision, or of one in all repeated blocks, as
in the paper, whose cells are repeated.

Source: Real, Aggarwal, Huang and Le, Regularized Evolution for Image Classifier Architecture Search, 2019.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from edgeopt.search.acquisition import fresh
from edgeopt.search.layout import Codes, Layout
from edgeopt.search.samplers import Example
from edgeopt.search.samplers._examples import LONG, SMALL
from edgeopt.search.standing import Standing

if TYPE_CHECKING:
    from optuna.samplers import BaseSampler

    from edgeopt.search.context import SearchContext

EXAMPLES = (Example(SMALL), Example(LONG))

POPULATION = 16
"""Small, as the budget is: the paper's 100 would never see a death."""
TOURNAMENT = 4
"""The paper's share of the population, a quarter."""
TRIES = 64


def create(context: SearchContext) -> BaseSampler:
    """The sampler, as Optuna calls it."""
    from edgeopt.search.samplers._joint import from_standing

    layout = Layout(context.space)

    def choose(standing: Standing, rng: np.random.Generator) -> Codes:
        parent = winner(standing, rng)
        row = child(layout, parent, np.flatnonzero(layout.options > 1), standing.tried, rng)
        return standing.variant(parent[None], rng) if row is None else row

    return from_standing(context, layout, choose)


def winner(standing: Standing, rng: np.random.Generator) -> Codes:
    """`(P,)` the best of a tournament in the living population; of infeasible ones the least harmful."""
    alive = range(max(0, len(standing.codes) - POPULATION), len(standing.codes))
    if not len(alive):
        return standing.layout.default
    entrants = rng.choice(list(alive), size=min(TOURNAMENT, len(alive)), replace=False)
    first = min(entrants, key=lambda n: (standing.values[n], _drop(standing, n), n))
    return np.asarray(standing.codes[first])


def child(layout: Layout, parent: Codes, free: Codes, tried: Codes, rng: np.random.Generator) -> Codes | None:
    """`(P,)` the parent with one change that makes it new; None where each is known.

    Args:
        free: Points that may change.
    """
    if not len(free):
        return None
    row = parent.copy()
    for attempt in range(TRIES):
        if attempt < TRIES // 2:
            row = parent.copy()  # later, one change is not enough to be new: let them add up
        point = rng.choice(free)
        option = (row[point] + rng.integers(1, layout.options[point])) % layout.options[point]
        twins = free[layout.group[free] == layout.group[point]]
        row[twins if rng.random() < 0.5 else point] = option
        if len(fresh(row[None], tried)):
            return row
    return None


def _drop(standing: Standing, number: int) -> float:
    accuracy = standing.trials[number].accuracy
    return np.inf if accuracy is None or accuracy.drop is None else accuracy.drop
