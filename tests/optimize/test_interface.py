from __future__ import annotations

from pathlib import Path

import pytest

from edgeopt.core.artifact import Artifact
from edgeopt.core.errors import ConfigError
from edgeopt.core.interface import Levels
from edgeopt.core.measurement import Measurement
from edgeopt.core.objective import Objective
from edgeopt.core.quantity import Quantity
from edgeopt.core.space import SearchSpace
from edgeopt.core.trial import Trial
from edgeopt.graph.interface import annotate
from edgeopt.graph.model import Model
from edgeopt.graph.references import references
from edgeopt.graph.space import search_space
from edgeopt.optimize.interface import check_allowed, left_out, sites, starts
from tests.graph.made import model

BOTH = ("uint8-input", "nhwc")
IMAGE = """<ir_version: 8, opset_import: ["": 17]>
net (float[1,3,8,8] x) => (float[1,2,8,8] y)
<float[2,3,1,1] w = {1, 2, 3, 4, 5, 6}> { r = Conv(x, w) y = Relu(r) }"""


@pytest.fixture
def frozen(tmp_path: Path) -> Model:
    return model(tmp_path / "m.onnx", IMAGE)


def space_of(frozen: Model, **levels: Levels | str) -> SearchSpace:
    annotate(frozen.ir, levels)
    return search_space(frozen, lossy=True, cores=1, interface=BOTH)


def test_what_nothing_knows_how_to_change_is_refused_with_what_is_known() -> None:
    check_allowed(BOTH)
    with pytest.raises(ConfigError) as refused:
        check_allowed(["uint8-input", "fp8-input"])
    assert (refused.value.message, refused.value.hint) == (
        "--allow-interface 'fp8-input' is unknown", "known: nhwc, uint8-input",
    )  # fmt: skip


def test_one_line_says_why_something_is_left_out(frozen: Model) -> None:
    space = space_of(frozen, x="the data are float32")
    assert list(left_out(frozen, space, BOTH)) == [
        "--allow-interface uint8-input is left out: input x: the data are float32"
    ]
    assert list(left_out(frozen, space_of(frozen, x=Levels()), BOTH)) == []


def test_a_model_without_an_image_says_so(tmp_path: Path) -> None:
    text = '<ir_version: 8, opset_import: ["": 17]> net (float[1,4] x) => (float[1,4] y) { y = Relu(x) }'
    flat = model(tmp_path / "m.onnx", text)
    (line,) = left_out(flat, search_space(flat, lossy=True, cores=1, interface=("nhwc",)), ("nhwc",))
    assert line == "--allow-interface nhwc is left out: input x: not an image of four axes"


def test_the_best_recipes_are_tried_with_each_change_first(frozen: Model) -> None:
    space = space_of(frozen, x=Levels((0.5,)))
    recipes = references(space, 1)
    trials = [
        Trial(
            number, candidate, "COMPLETE", "reference", name, Artifact(candidate.key, Path("m"), name, 1),
            Measurement(Quantity(10.0 - number, "ms", 1.0, 20.0, "measured", "clock")),
        )
        for number, (name, candidate) in enumerate(recipes, start=1)
    ]  # fmt: skip
    given = list(starts(space, Objective(), trials, BOTH))
    assert len(given) == len(set(given)) <= 6
    assert [bool(given[0].chosen(site) == "on") for site in sites(space, BOTH)] == [True, True]
    fastest = dict(recipes[-1][1].decisions)
    runtime = {site: option for site, option in fastest.items() if site.startswith(("runtime", "precision"))}
    assert {site: given[0].chosen(site) for site in runtime} == runtime
    done = [Trial(99 + i, candidate, "FAILED", "candidate", "", None) for i, candidate in enumerate(given)]
    assert list(starts(space, Objective(), [*trials, *done], BOTH)) == []
