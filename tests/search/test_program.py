"""The program's optimum is the best of all candidates, counted out one by one."""

from __future__ import annotations

import numpy as np
import pytest
from mixed_truth import INT8, MixedTruth

from edgeopt.search.layout import Layout
from edgeopt.search.neighbours import everything
from edgeopt.search.program import Linear, Program

OPTIONS = ("float32", INT8, "float16_weights")


def drawn(seed: int):
    """Six regions with skip connections, random prices (boundaries that pay, too), losses and a bound."""
    layout, rng = Layout(MixedTruth(blocks=2, options=OPTIONS).space), np.random.default_rng(seed)
    words, shape = len(layout.words), (layout.count, layout.width)
    boundaries = rng.normal(0.3, 0.5, (len(layout.edges), words, words)) * (1 - np.eye(words))
    objective = Linear(rng.normal(0, 1, shape), boundaries)
    losses = Linear(rng.uniform(0, 1, shape))
    return layout, objective, losses


def value(layout: Layout, linear: Linear, rows: np.ndarray) -> np.ndarray:
    total = linear.options[np.arange(layout.count), rows].sum(axis=1)
    if linear.boundaries is not None:
        ends = layout.spoken(rows)[:, layout.edges]
        total += linear.boundaries[np.arange(len(layout.edges)), ends[..., 0], ends[..., 1]].sum(axis=1)
    return total


@pytest.mark.parametrize("seed", range(4))
def test_it_finds_the_best_within_the_limits_that_was_not_tried(seed):
    layout, objective, losses = drawn(seed)
    rows = everything(layout)
    figures, lost = value(layout, objective, rows), value(layout, losses, rows)
    bound = float(np.quantile(lost, 0.2))
    allowed = np.where(lost <= bound, figures, np.inf)
    program, tried = Program(layout), rows[:0]
    for best in np.argsort(allowed)[:3]:
        found = program.minimum(objective, [(losses, bound)], tried)
        assert found is not None
        assert value(layout, objective, found[None])[0] == pytest.approx(figures[best], abs=1e-3)
        assert value(layout, losses, found[None])[0] <= bound + 1e-6
        tried = np.concatenate([tried, found[None]])
    assert len(np.unique(tried, axis=0)) == 3


def test_where_nothing_is_allowed_there_is_no_answer():
    layout, objective, losses = drawn(0)
    assert Program(layout).minimum(objective, [(losses, -1.0)], everything(layout)[:0]) is None


def test_an_edge_to_a_region_without_a_choice_is_priced_too():
    truth = MixedTruth(blocks=2)
    first = truth.space.regions[0].name
    points = tuple(p for p in truth.space.points if p.region != first)
    layout = Layout(type(truth.space)(truth.space.model_digest, points, truth.space.regions))
    rng = np.random.default_rng(1)
    words = len(layout.words)
    objective = Linear(
        rng.normal(0, 0.1, (layout.count, layout.width)),
        rng.normal(0, 1, (len(layout.edges), words, words)) * (1 - np.eye(words)),
    )
    rows = everything(layout)
    found = Program(layout).minimum(objective, [], rows[:0])
    assert found is not None
    least = value(layout, objective, rows).min()
    assert value(layout, objective, found[None])[0] == pytest.approx(least, abs=1e-3)
