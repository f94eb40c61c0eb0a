"""Tree-structured Parzen estimator: Optuna's default, strong without any knowledge of the graph.

Source: Bergstra et al., Algorithms for Hyper-Parameter Optimization, 2011.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from edgeopt.search.samplers import Example
from edgeopt.search.samplers._examples import LONG, SMALL

if TYPE_CHECKING:
    from optuna.samplers import BaseSampler

    from edgeopt.search.context import SearchContext

EXAMPLES = (Example(SMALL), Example(LONG))


def create(context: SearchContext) -> BaseSampler:
    """Optuna's `TPESampler`; the references serve as its start-up trials."""
    from optuna.samplers import TPESampler

    from edgeopt.search.samplers._seeded import SeededPerTrial

    return SeededPerTrial(lambda seed: TPESampler(seed=seed, n_startup_trials=8), context.seed)
