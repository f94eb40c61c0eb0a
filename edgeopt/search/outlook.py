"""What every option means for the rest of the graph: costs passed from region to region against the flow.

The agent decides region after region, but what pays depends on what comes later: one int8 layer alone costs
two conversions, the same layer before a stretch of int8 costs none. So each precision point receives from
its consumers what their cheapest answer to each of its options would cost:

    cost(p, k) = price(p, k) + weight * drop(p, k) + sum over consumers q of ahead(p, q, k)
    ahead(p, q, k) = min over k' of boundary(k, k') + cost(q, k') / (producers of q)

On chains and trees this is dynamic programming and exact; where branches meet, a region's cost is divided
between its producers, each of which believes the others to agree with it.

Source: Pearl, Probabilistic Reasoning in Intelligent Systems, 1988, chapter 4 (min-sum messages); Bertsekas,
Nonlinear Programming, section 5.1 (a constraint priced by its multiplier).
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from edgeopt.search.bayes import Floats
from edgeopt.search.layout import FAMILIES, Layout

ROUNDS = 10
"""Of the search for the multiplier."""


@dataclass(frozen=True, slots=True)
class Outlook:
    """Costs in units of the default model's figure, beyond the point itself.

    Attributes:
        ahead: `(P, K)` of all that follows when an option is chosen, above the best option's; 0 for points
            of other families.
        weight: What a drop of 1 costs: the least that makes the cheapest way through the graph keep the
            accuracy budget; 0 where it is kept anyway.
    """

    ahead: Floats
    weight: float


def outlook(layout: Layout, prices: Floats, edges: Floats, drops: Floats, budget: float | None) -> Outlook:
    """Pass the messages.

    Args:
        prices: `(P, K)` of each option alone.
        edges: `(E, V, V)` cost of each edge by the words at its ends.
        drops: `(P, K)` expected drop of each option.
        budget: The drop that is allowed; None where accuracy is not known.
    """
    graph = _Graph(layout, prices, edges, drops)
    ahead = graph.messages(0.0)
    if budget is None or graph.drop(ahead, 0.0) <= budget:
        return Outlook(ahead, 0.0)
    # One default figure per budget is far beyond what any drop is worth; from there, halve the exponent.
    low, high = np.log(1e-4 / max(budget, 1e-6)), np.log(1e2 / max(budget, 1e-6))
    for _ in range(ROUNDS):
        middle = (low + high) / 2
        kept = graph.drop(graph.messages(float(np.exp(middle))), float(np.exp(middle))) <= budget
        low, high = (low, middle) if kept else (middle, high)
    weight = float(np.exp(high))
    return Outlook(graph.messages(weight), weight)


class _Graph:
    """The precision points, and per point the edges to its consumers and from its producers."""

    def __init__(self, layout: Layout, prices: Floats, edges: Floats, drops: Floats) -> None:
        self.layout, self.prices, self.drops = layout, prices, drops
        self.points = np.flatnonzero(layout.family == FAMILIES.index("precision")).tolist()
        exists = np.arange(layout.width) < layout.options[:, None]
        self.barred = np.where(exists, 0.0, np.inf)
        decided = layout.edges[(layout.edges < layout.count).all(axis=1)]
        producers = np.bincount(decided[:, 1], minlength=layout.count + 1)
        self.share = 1.0 / np.maximum(producers, 1)
        self.outgoing: list[list[tuple[int, Floats]]] = [[] for _ in range(layout.count)]
        self.incoming: list[list[tuple[int, Floats]]] = [[] for _ in range(layout.count)]
        for table, (source, target) in zip(edges, layout.edges.tolist(), strict=True):
            # An end that is not decided speaks the default word; only earlier points send, or it would loop.
            here = table if source == layout.count else table[layout.word[source]]
            here = here if target == layout.count else here[:, layout.word[target]]
            if target == layout.count:
                self.outgoing[source].append((-1, here[:, :1]))
            elif source == layout.count:
                self.incoming[target].append((-1, here[:1]))
            elif source < target:
                self.outgoing[source].append((target, here))
                self.incoming[target].append((source, here))

    def messages(self, weight: float) -> Floats:
        """`(P, K)` what follows each option, above the best option's."""
        layout = self.layout
        ahead = np.zeros((layout.count, layout.width))
        cost = self.prices + weight * self.drops + self.barred
        for p in reversed(self.points):
            for q, boundary in self.outgoing[p]:
                if q < 0:
                    ahead[p] += boundary[:, 0]
                else:
                    ahead[p] += (boundary + self.share[q] * cost[q]).min(axis=1)
            cost[p] += ahead[p]
            ahead[p] -= ahead[p, : layout.options[p]].min()
        return ahead

    def drop(self, ahead: Floats, weight: float) -> float:
        """Expected drop of the way that takes the cheapest option at each point in turn."""
        local = self.prices + weight * self.drops + self.barred + ahead
        chosen: dict[int, int] = {-1: 0}
        total = 0.0
        for p in self.points:
            costs = local[p].copy()
            for q, boundary in self.incoming[p]:
                costs += boundary[chosen[q]]
            chosen[p] = int(np.argmin(costs))
            total += float(self.drops[p, chosen[p]])
        return total
