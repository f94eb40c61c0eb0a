"""What changes of structure save is told before anything is built, and the search begins with it."""

from __future__ import annotations

import random

import pytest
from scipy.stats import spearmanr

from edgeopt.core.space import SearchSpace
from edgeopt.graph.flops import node_flops
from edgeopt.graph.model import Model
from edgeopt.graph.moments import Statistics
from edgeopt.graph.space import search_space
from edgeopt.graph.structuring import Structures
from edgeopt.search.figure import FigureModel
from edgeopt.search.layout import Layout
from edgeopt.testing.precision import RandomSamples, example


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> tuple[Model, SearchSpace, Structures]:
    model = example(
        """<ir_version: 8, opset_import: ["": 17]>
        stack (float[1, 3, 24, 24] x) => (float[1, 5] y)
        <float[16,3,3,3] w1, float[32,16,3,3] w2, float[32,32,3,3] w3, float[64,32,1,1] w4, float[64,5] w5> {
            c1 = Conv <pads = [1, 1, 1, 1]> (x, w1) r1 = HardSwish(c1)
            c2 = Conv <pads = [1, 1, 1, 1], strides = [2, 2]> (r1, w2) r2 = Relu(c2)
            c3 = Conv <pads = [1, 1, 1, 1]> (r2, w3) r3 = Relu(c3)
            c4 = Conv(r3, w4) r4 = Relu(c4)
            p = ReduceMean <axes = [2, 3], keepdims = 0> (r4) y = MatMul(p, w5)
        }""",
        tmp_path_factory.mktemp("stack"),
    )
    space = search_space(model, lossy=True, cores=1, structure=True)
    samples = RandomSamples(model, 4)
    return model, space, Structures(model, space.regions, samples, Statistics(model, samples))


def work(model: Model) -> int:
    return sum(node_flops(node) or 0 for node in model.ir.graph)


def test_what_sites_of_a_change_save_adds_up(made: tuple[Model, SearchSpace, Structures]) -> None:
    model, space, structures = made
    savings = structures.savings(space)
    points = [point for point in space.points if point.family == "structure"]
    assert set(savings) == {point.site for point in points}
    for name in {str(point.name) for point in points}:
        last = {point.site: point.options[-1] for point in points if point.name == name}
        expected = work(model) - work(structures.variant(last, refitted=False).model)
        added = sum(savings[site][option].flops for site, option in last.items())
        # Where sites do not get into each other's way there is nothing to share out.
        assert added == pytest.approx(expected, rel=1e-6) or (len(last) > 1 and added < expected)


def test_candidates_are_ranked_before_anything_was_measured(
    made: tuple[Model, SearchSpace, Structures],
) -> None:
    _, space, structures = made
    chooser, points = random.Random(3), [p for p in space.points if p.family == "structure"]
    chosen = [
        {p.site: chooser.choice(p.options) for p in chooser.sample(points, chooser.randint(0, 4))}
        for _ in range(40)
    ]
    layout = Layout(space)
    codes = layout.encode([space.candidate(decisions) for decisions in chosen])
    told = FigureModel(layout, "latency", savings=structures.savings(space))
    blind = FigureModel(layout, "latency")
    left = [work(structures.variant(decisions, refitted=False).model) for decisions in chosen]
    ranked, guessed = (spearmanr(model.predict(codes)[0], left).statistic for model in (told, blind))
    assert ranked > max(0.85, guessed)
