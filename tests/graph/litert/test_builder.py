"""Candidates on LiteRT: one float file for each changed graph, recipes by region on top."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from edgeopt.core.artifact import Artifact
from edgeopt.core.candidate import RUNTIME
from edgeopt.core.errors import CandidateFailed
from edgeopt.core.space import SearchSpace
from edgeopt.graph import equivalence, rewrites
from edgeopt.graph.builder import Builder
from edgeopt.graph.litert.builder import LiteRtBuilder
from edgeopt.graph.litert.recipes import RECIPES, REWRITES_TO_FOREIGN_OPERATORS
from edgeopt.graph.litert.worker import Worker
from edgeopt.graph.model import Model
from edgeopt.graph.references import references
from edgeopt.graph.space import ON, search_space
from edgeopt.runtimes.litert import Session
from edgeopt.runtimes.onnxruntime import Session as OnnxSession
from tests.graph import networks
from tests.graph.litert.test_export import HEAD, Calibration

BOTH = ("onnxruntime", "litert")


def builder_of(model: Model, space: SearchSpace, worker: Worker, folder: Path) -> Builder:
    litert = LiteRtBuilder(space, worker, folder / "litert", Calibration(model), lambda: (), {})
    return Builder(model, space, None, folder, 26, 14, litert=litert)


class Made:
    """A network, its space of both runtimes, and what builds its candidates."""

    def __init__(self, folder: Path, text: str, worker: Worker) -> None:
        self.model = networks.network(folder, text)
        self.space = search_space(self.model, lossy=True, cores=4, runtimes=BOTH)
        self.builder = builder_of(self.model, self.space, worker, folder / "out")
        self.feeds = next(iter(Calibration(self.model).samples()))

    def build(self, **decisions: str) -> Artifact:
        return self.builder.build(self.space.candidate({RUNTIME: "litert", **decisions}))

    def whole(self, recipe: str) -> Artifact:
        """The recipe wherever it is offered."""
        return self.builder.build(self.space.settled({
            RUNTIME: "litert",
            **{p.site: recipe for p in self.space.points if recipe in p.offered("litert")},
        }))  # fmt: skip

    def error(self, artifact: Artifact) -> float:
        """Worst error on one sample, relative to the largest magnitude."""
        expected = OnnxSession(self.model.path).run(self.feeds)
        actual = Session(artifact.path, artifact.session_options).run(self.feeds)
        return max(equivalence.worst_error(a, b) for a, b in zip(expected, actual, strict=True))

    @property
    def floats(self) -> list[Path]:
        """Float files that were exported."""
        return sorted((self.builder._index._file.parent / "litert").glob("litert-*.json"))


@pytest.fixture(scope="module")
def residual(tmp_path_factory: pytest.TempPathFactory, worker: Worker) -> Made:
    return Made(tmp_path_factory.mktemp("residual"), networks.RESIDUAL, worker)


def dtypes(artifact: Artifact) -> dict[str, str]:
    """Types of the file's tensors, by name."""
    details = Session(artifact.path)._interpreter.get_tensor_details()
    return {known["name"]: np.dtype(known["dtype"]).name for known in details}


def test_the_default_is_the_float_file_with_the_models_interface(residual: Made) -> None:
    made = residual.build()
    assert made.runtime == "litert"
    assert made.session_options == {"threads": 4, "xnnpack": True}
    assert made.path.suffix == ".tflite"
    assert residual.error(made) < 1e-5


@pytest.mark.parametrize(
    ("recipe", "most", "largest"),
    [
        ("int8_static_channel", 0.1, 0.5), ("int16x8", 0.02, 0.6), ("int8_dynamic", 0.05, 0.5),
        ("float16_weights", 0.005, 0.7), ("int8_weights", 0.05, 0.6), ("int4_weights", 0.6, 0.6),
    ],
)  # fmt: skip
def test_each_recipe_over_the_whole_model(residual: Made, recipe: str, most: float, largest: float) -> None:
    made, exported = residual.whole(recipe), residual.build()
    assert 0 < residual.error(made) < most
    assert made.size_bytes < largest * exported.size_bytes
    assert [spec.dtype for spec in Session(made.path).inputs] == ["float32"]
    assert residual.whole(recipe) == made


def test_all_recipes_have_been_tried() -> None:
    (mark,) = test_each_recipe_over_the_whole_model.pytestmark
    assert {row[0] for row in mark.args[1]} == set(RECIPES)


def test_a_recipe_of_one_region_leaves_the_others_as_they_are(residual: Made) -> None:
    sites = [p.site for p in residual.space.points if "int8_static_channel" in p.offered("litert")]
    one = residual.build(**{sites[1]: "int8_static_channel"})
    assert 0 < residual.error(one) < residual.error(residual.whole("int8_static_channel"))
    whole = dtypes(residual.whole("int8_static_channel"))
    count = [list(found.values()).count("int8") for found in (dtypes(one), whole)]
    assert 0 < count[0] < count[1]
    assert (
        "float16"
        in dtypes(residual.build(**{sites[1]: "int8_static_channel", sites[2]: "float16_weights"})).values()
    )


def test_decisions_about_the_graph_are_in_the_file(residual: Made) -> None:
    before = len(residual.floats)
    rewrites = {
        point.site: ON
        for point in residual.space.points
        if point.family == "rewrite" and ON in point.offered("litert")
    }
    changed = residual.builder.build(residual.space.candidate({RUNTIME: "litert", **rewrites}))
    assert residual.error(changed) < 1e-4
    threads = residual.build(**{"runtime:threads": "1", "runtime:xnnpack": "0"})
    assert threads.sha256 == residual.build().sha256
    assert threads.session_options == {"threads": 1, "xnnpack": False}
    assert len(residual.floats) <= before + 2


def test_a_graph_that_does_not_convert_is_converted_once(worker: Worker, tmp_path: Path) -> None:
    text = f"{HEAD} det (float[4, 4] x) => (float y) <float[4, 4] w> {{ m = MatMul(x, w) y = Det(m) }}"
    made = Made(tmp_path, text, worker)
    with pytest.raises(CandidateFailed, match="LiteRT has no operator for DET") as first:
        made.build()
    with pytest.raises(CandidateFailed) as second:
        made.whole("int8_dynamic")
    assert first.value is second.value
    assert made.builder.build(made.space.default()).runtime == "onnxruntime"


def test_references_name_the_recipes_of_both_runtimes(residual: Made) -> None:
    names = {name: candidate.runtime for name, candidate in references(residual.space, 4)}
    assert {name for name, runtime in names.items() if runtime == "litert"} >= {
        "litert-float32", "litert-int8-static", "litert-int8-dynamic", "litert-float16-storage",
        "litert-threads-1",
    }  # fmt: skip
    assert {"int8-static-per-channel", "threads-1"} <= names.keys()
    assert names["int8-static-per-channel"] == "onnxruntime"


def test_beside_onnxruntime_two_references_and_nothing_to_decide(residual: Made) -> None:
    plain = search_space(residual.model, lossy=True, cores=4)
    beside = search_space(residual.model, lossy=True, cores=4, beside=("litert",))
    assert beside.points == plain.points
    found = [(n, c) for n, c in references(beside, 4) if c.runtime == "litert"]
    assert [name for name, _ in found] == ["litert-float32", "litert-int8-static"]
    assert [(n, c) for n, c in references(beside, 4) if c.runtime != "litert"] == references(plain, 4)


def test_on_litert_alone_nothing_of_onnxruntime_is_decided(residual: Made) -> None:
    space = search_space(residual.model, lossy=True, cores=4, runtimes=("litert",))
    assert space.default().runtime == "litert"
    names = {point.site for point in space.points if point.region is None}
    assert names == {"runtime", "runtime:threads", "runtime:xnnpack"}
    options = {option for point in space.points if point.family == "precision" for option in point.options}
    assert options == {"float32", *RECIPES}


def test_rewrites_to_operators_of_onnxruntime_alone_are_not_offered() -> None:
    sources = Path(rewrites.__file__).parent.glob("[a-z]*.py")
    making = {path.stem for path in sources if "com.microsoft" in path.read_text()}
    taking = {"expand_attention", "gather_of_constant"}  # these take such operators away
    assert making - taking == REWRITES_TO_FOREIGN_OPERATORS


def test_outputs_are_in_the_models_order(worker: Worker, tmp_path: Path) -> None:
    text = f"""{HEAD} two (float[1, 3, 8, 8] x) => (float[1, 4] z, float[1, 4, 8, 8] a)
    <float[4, 3, 3, 3] w> {{
        a = Conv <pads = [1, 1, 1, 1]> (x, w)
        p = GlobalAveragePool(a)
        z = Flatten(p)
    }}"""
    made = Made(tmp_path, text, worker)
    for artifact in (made.build(), made.whole("int8_static_channel")):
        outputs = Session(artifact.path).run(made.feeds)
        assert [value.shape for value in outputs] == [(1, 4), (1, 4, 8, 8)]
