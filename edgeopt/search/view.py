"""What the agent knows of one surrogate before an episode begins: the same in all episodes, computed once."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from edgeopt.search.bayes import Floats
from edgeopt.search.features import cores, name_features, point_features
from edgeopt.search.layout import FAMILIES, Codes
from edgeopt.search.outlook import outlook
from edgeopt.search.surrogate import Surrogate

Bools = NDArray[np.bool_]
Reals = NDArray[np.float32]

ELITE = 5


class View:
    """Tables over P points, at most K options each.

    Attributes:
        prices: `(P, K)` predicted effect of each option alone, see `FigureModel.option_prices`.
        doubts: `(P, K)` its standard deviation.
        drops: `(P, K)` expected drop of each option; zero where accuracy is not known.
        drop_doubts: `(P, K)` its standard deviation.
        ahead: `(P, K)` what follows an option in the graph, see `outlook`.
        drop_costs: `(P, K)` what its drop costs, in the unit of `ahead`.
        static: `(P, F)` features of the point and its region.
        names: `(P, K, N)` features of the options' names.
        exists: `(P, K)` which options there are.
        is_runtime: `(P,)`.
        best: `(P, K)` what the best trial chose.
        elite: `(P, K)` share of the best trials that chose it.
        board: Number of cores and of trials known, scaled.
        arrivals: Per point that is priced by its neighbours: ends `(m,)`, prices `(m, V, K)` by the word
            there, which ends are producers `(m,)`.
    """

    def __init__(self, surrogate: Surrogate) -> None:
        self.surrogate, self.layout = surrogate, surrogate.layout
        layout = self.layout
        self.prices, self.doubts = surrogate.objective.option_prices()
        self.drops, self.drop_doubts = _drops(surrogate)
        edges = surrogate.objective.edge_prices()
        seen = outlook(layout, self.prices, edges, self.drops, surrogate.allowed_drop)
        self.ahead, self.drop_costs = seen.ahead, seen.weight * self.drops
        self.static = point_features(layout, surrogate.objective.prior.shares)
        self.names = name_features(layout)
        self.exists = np.arange(layout.width) < layout.options[:, None]
        self.is_runtime = layout.family == FAMILIES.index("runtime")
        self.best, self.elite = self._measured_choices()
        self.board = np.log2(cores(layout)) / 7, np.log1p(len(surrogate.codes)) / 5
        self.arrivals = [self._arrivals(p, edges) for p in range(layout.count)]

    def _arrivals(self, p: int, tables: Floats) -> tuple[Codes, Floats, Bools]:
        layout = self.layout
        edges, consumes = layout.arrivals[p]
        others = np.where(consumes, layout.edges[edges, 0], layout.edges[edges, 1])
        here = tables[edges]
        here = np.where(consumes[:, None, None], here, here.transpose(0, 2, 1))
        return others, here[:, :, layout.word[p]], consumes

    def _measured_choices(self) -> tuple[Reals, Reals]:
        eye = np.eye(self.layout.width, dtype=np.float32)
        elite = self.surrogate.elite(ELITE)
        if not len(elite):
            nothing = np.zeros((self.layout.count, self.layout.width), dtype=np.float32)
            return nothing, nothing
        return eye[elite[0]], eye[elite].mean(axis=0)


def _drops(surrogate: Surrogate) -> tuple[Floats, Floats]:
    if surrogate.accuracy is None:
        nothing = np.zeros(surrogate.layout.column.shape)
        return nothing, nothing
    return surrogate.accuracy.option_drops()
