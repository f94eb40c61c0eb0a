"""Real profiles of onnxruntime are mapped back to regions."""

from __future__ import annotations

import json
from pathlib import Path

import onnx
import onnxruntime as ort
import pytest

from edgeopt.graph import rewriting
from edgeopt.graph.attribution import attribute, owner
from edgeopt.graph.model import freeze, load
from edgeopt.testing.precision import Bench, random_candidates
from tests.graph import networks
from tests.graph.mobilenet import mobilenet_v2

LEVELS = {"basic": 1, "all": 99}
CONVERSIONS = ("Transpose", "ReorderInput", "ReorderOutput", "QuantizeLinear", "DequantizeLinear")
"""Of layout and of precision, by nodes that the runtime itself puts between others, without a name."""


@pytest.fixture(scope="module")
def bench(tmp_path_factory: pytest.TempPathFactory) -> Bench:
    folder = tmp_path_factory.mktemp("mobilenet")
    onnx.save(mobilenet_v2(128, batchnorm=True), folder / "m.onnx")
    return Bench.of(freeze(load(folder / "m.onnx"), {}), folder, unsigned=True)


def profile(bench: Bench, path: Path, folder: Path, level: str = "all", runs: int = 3) -> dict[str, float]:
    options = ort.SessionOptions()
    options.enable_profiling = True
    options.profile_file_prefix = str(folder / "profile")
    options.intra_op_num_threads = 1
    options.graph_optimization_level = ort.GraphOptimizationLevel(LEVELS[level])
    options.log_severity_level = 4
    session = ort.InferenceSession(path, options, providers=["CPUExecutionProvider"])
    feeds = next(bench.samples.samples())
    for _ in range(runs):
        session.run(None, feeds)
    found: dict[str, float] = {}
    for event in json.loads(Path(session.end_profiling()).read_text()):
        if event.get("cat") == "Node" and event["name"].endswith("_kernel_time"):
            name = event["name"].removesuffix("_kernel_time")
            found[name] = found.get(name, 0.0) + event["dur"] / 1000 / runs
    return found


@pytest.mark.parametrize("level", LEVELS)
@pytest.mark.parametrize("scheme", ["float32", "int8_static_channel", "int8_dynamic", "float16_weights"])
def test_at_least_95_percent_of_a_cnns_time_has_a_region(
    bench: Bench, scheme: str, level: str, tmp_path: Path
) -> None:
    usual = {
        point.site: "on"
        for point in bench.space.points
        if point.family == "rewrite" and rewriting.is_usual(str(point.name))
    }
    recipe = bench.space.candidate(dict(bench.everywhere(scheme).decisions) | usual)
    artifact = bench.builder.build_named(recipe)
    node_ms = profile(bench, artifact.path, tmp_path, level)
    found, rest_ms = attribute(node_ms, artifact.path, bench.space.regions)
    assert sum(found.values()) + rest_ms == pytest.approx(sum(node_ms.values()))
    assert rest_ms < 0.05 * sum(node_ms.values())
    convolutions = [region.name for region in bench.space.regions if "Conv" in region.op_types]
    assert all(found[name] > 0 for name in convolutions)


def test_what_is_left_of_a_mix_is_conversion_by_the_runtime(bench: Bench, tmp_path: Path) -> None:
    for candidate in random_candidates(bench.space, 3, seed=2):
        artifact = bench.builder.build_named(candidate)
        node_ms = profile(bench, artifact.path, tmp_path, runs=1)
        for name in node_ms:
            _, rest_ms = attribute({name: 1.0}, artifact.path, bench.space.regions)
            assert not rest_ms or name.startswith(CONVERSIONS), name


def test_nodes_without_names_and_expanded_operators_are_found(tmp_path: Path) -> None:
    bench = Bench.of(networks.network(tmp_path, networks.CNN), tmp_path, unsigned=True)
    assert not any(node.name for node in onnx.load(bench.model.path).graph.node)
    artifact = bench.builder.build_named(bench.space.default())
    node_ms = profile(bench, artifact.path, tmp_path)
    swish = next(region.name for region in bench.space.regions if "HardSwish" in region.op_types)
    for name in node_ms:
        found, rest_ms = attribute({name: 1.0}, artifact.path, bench.space.regions)
        assert not rest_ms or name.startswith("Reorder"), name
        assert sum(found.values()) + rest_ms == 1.0
    found, _ = attribute(node_ms, artifact.path, bench.space.regions)
    parts = [name for name in node_ms if attribute({name: 1.0}, artifact.path, bench.space.regions)[0][swish]]
    assert found[swish] == pytest.approx(sum(node_ms[name] for name in parts))


def test_the_named_graph_computes_the_same(tmp_path: Path) -> None:
    from edgeopt.runtimes.onnxruntime import Session

    bench = Bench.of(networks.network(tmp_path, networks.RESIDUAL), tmp_path)
    default = bench.space.default()
    named, original = bench.builder.build_named(default), bench.builder.build(default)
    assert named.path != original.path
    feeds = next(bench.samples.samples())
    assert (Session(named.path).run(feeds)[0] == Session(original.path).run(feeds)[0]).all()
    changed = bench.everywhere("int8_dynamic")
    assert bench.builder.build_named(changed) == bench.builder.build(changed)


@pytest.mark.parametrize(
    ("reported", "region"),
    [
        ("conv1", "a"),
        ("conv1_nchwc", "a"),
        ("conv1_token_12", "a"),
        ("conv1/MatMulAddFusion", "a"),
        ("conv10", "b"),
        ("conv10_token_3", "b"),
        ("conv12", None),
        ("Transpose_token_4", None),
        ("", None),
    ],
)
def test_the_longest_name_that_begins_a_reported_one_decides(reported: str, region: str | None) -> None:
    assert owner(reported, {"conv1": "a", "conv10": "b"}) == region
