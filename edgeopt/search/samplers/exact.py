"""The optimum of the additive-plus-boundary model: nothing is sampled, HiGHS solves for it.

One proposal: fit the surrogate; find the candidate whose predicted figure is least among those predicted to
keep the accuracy and every limit, and which was not tried. Every other proposal is optimistic: each option is
priced at the lower end of what is believed of it, so that what is little known gets measured. The residual of
the surrogate is left out: it is not linear.

No randomness: every seed proposes the same.

Source: Yao et al., HAWQ-V3, 2021 (an integer program for mixed precision); Dani, Hayes and Kakade, Stochastic
Linear Optimization under Bandit Feedback, 2008 (optimism for linear costs).
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from edgeopt.search.bayes import Floats
from edgeopt.search.figure import FigureModel
from edgeopt.search.layout import FAMILIES, Codes, Layout
from edgeopt.search.program import Linear, Program
from edgeopt.search.samplers import Example
from edgeopt.search.samplers._examples import LONG, SMALL
from edgeopt.search.standing import Standing
from edgeopt.search.surrogate import Surrogate, known_mask

if TYPE_CHECKING:
    from optuna.samplers import BaseSampler

    from edgeopt.search.context import SearchContext

EXAMPLES = (Example(SMALL), Example(LONG))

OPTIMISM = 2.0
"""Standard deviations of the whole: each option's share of it shrinks with the root of their number."""
CUTS = 500
"""Newest trials that are ruled out at once; an older one is ruled out when it comes up."""


def create(context: SearchContext) -> BaseSampler:
    """The sampler, as Optuna calls it."""
    from edgeopt.search.samplers._joint import from_standing

    layout = Layout(context.space)
    program = Program(layout)

    def choose(standing: Standing, rng: np.random.Generator) -> Codes:
        surrogate = Surrogate(layout, context)
        optimism = OPTIMISM * (len(standing.tried) % 2)
        row = best_untried(program, surrogate, standing.tried, optimism)
        if row is None:  # nothing new is predicted to be allowed
            best = standing.best()
            around = layout.default if best is None else best
            row = standing.variant(around[None], rng)
        return row

    return from_standing(context, layout, choose)


def best_untried(program: Program, surrogate: Surrogate, tried: Codes, optimism: float) -> Codes | None:
    """`(P,)` the least predicted figure within all constraints that was not tried; None where there is none.

    Args:
        optimism: How many standard deviations options are believed to be better than expected.
    """
    objective = _objective(surrogate, optimism)
    limits = _limits(surrogate)
    cuts = tried[-CUTS:]
    while True:
        row = program.minimum(objective, limits, cuts)
        if row is None or not known_mask(row[None], tried)[0]:
            return row
        if known_mask(row[None], cuts)[0]:
            return None  # ruled out and found again: the solver's tolerance, nothing better is to be had
        cuts = np.concatenate([cuts, row[None]])


def _objective(surrogate: Surrogate, optimism: float) -> Linear:
    """Log figure, `log(1 + graph) + runtime`, with the logarithm's slope at the best so far."""
    model = surrogate.objective
    mean, spread = model.option_prices()
    decided = max(int((surrogate.layout.options > 1).sum()), 1)
    prices = mean - optimism / np.sqrt(decided) * spread
    incumbent = surrogate.incumbent()
    inner = np.exp(min(incumbent[1], 0.0)) if incumbent is not None else 1.0
    return Linear(np.where(_is_runtime(surrogate), prices, prices / inner), model.edge_prices() / inner)


def _limits(surrogate: Surrogate) -> list[tuple[Linear, float]]:
    limits = []
    if surrogate.accuracy is not None and surrogate.allowed_drop is not None:
        limits.append((Linear(surrogate.accuracy.option_drops()[0]), surrogate.allowed_drop))
    for model, bound in surrogate.limits:
        limits.append(_limit(surrogate, model, bound))
    return limits


def _limit(surrogate: Surrogate, model: FigureModel, bound: float) -> tuple[Linear, float]:
    """`(1 + graph) exp(runtime) <= share`, with the exponential's slope at 0."""
    share = float(bound / np.exp(model.reference))
    mean, _ = model.option_prices()
    return Linear(np.where(_is_runtime(surrogate), share * mean, mean), model.edge_prices()), share - 1.0


def _is_runtime(surrogate: Surrogate) -> Floats:
    return np.asarray(surrogate.layout.family == FAMILIES.index("runtime"))[:, None]
