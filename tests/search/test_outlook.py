"""Messages over the region graph: exact on chains, and priced by the accuracy budget."""

from __future__ import annotations

import itertools

import numpy as np
import pytest

from edgeopt.search.layout import Layout
from edgeopt.search.outlook import outlook
from edgeopt.search.samplers._examples import chain


def tables(length=6, seed=0):
    layout, rng = Layout(chain(length)), np.random.default_rng(seed)
    prices = np.zeros((layout.count, layout.width))
    precision = slice(1, 1 + length)  # after the rewrite
    prices[precision, 1] = rng.normal(-0.05, 0.1, length)
    edges = np.zeros((len(layout.edges), 2, 2))
    edges[:, 0, 1], edges[:, 1, 0] = rng.uniform(0, 0.1, (2, len(edges)))
    return layout, prices, edges, range(1, 1 + length)


def cost(layout, prices, edges, points, chosen):
    total = sum(prices[p, k] for p, k in zip(points, chosen, strict=True))
    return total + sum(
        table[chosen[s - points[0]], chosen[t - points[0]]]
        for table, (s, t) in zip(edges, layout.edges, strict=True)
    )


def cheapest(layout, prices, edges, points, ahead, drops=0.0):
    """Decide point after point, as the agent does, by price, boundary and outlook."""
    chosen = []
    for p in points:
        costs = (prices + drops)[p] + ahead[p]
        if chosen:
            costs = costs + edges[p - points[0] - 1][chosen[-1]]
        chosen.append(int(np.argmin(costs)))
    return chosen


@pytest.mark.parametrize("seed", range(5))
def test_on_a_chain_it_is_dynamic_programming(seed):
    layout, prices, edges, points = tables(seed=seed)
    ahead = outlook(layout, prices, edges, np.zeros_like(prices), None).ahead
    best = min(
        itertools.product((0, 1), repeat=len(points)),
        key=lambda chosen: cost(layout, prices, edges, points, chosen),
    )
    assert cheapest(layout, prices, edges, points, ahead) == list(best)


def test_without_it_the_first_boundary_is_never_worth_it():
    layout, prices, edges, points = tables()
    prices[1:7, 1], edges[:, 0, 1], edges[:, 1, 0] = [0.01, *[-0.1] * 5], 0.15, 0.15
    assert cheapest(layout, prices, edges, points, np.zeros_like(prices)) == [0] * 6
    ahead = outlook(layout, prices, edges, np.zeros_like(prices), None).ahead
    assert cheapest(layout, prices, edges, points, ahead) == [1] * 6


def test_a_budget_of_accuracy_prices_drops_just_enough():
    layout, prices, edges, points = tables()
    prices[1:7, 1], edges[:] = -0.1, 0.0
    drops = np.zeros_like(prices)
    drops[1:7, 1] = [0.001, 0.002, 0.003, 0.01, 0.02, 0.04]
    assert outlook(layout, prices, edges, drops, 1.0).weight == 0.0
    seen = outlook(layout, prices, edges, drops, 0.017)
    chosen = cheapest(layout, prices, edges, points, seen.ahead, seen.weight * drops)
    assert chosen == [1, 1, 1, 1, 0, 0]
