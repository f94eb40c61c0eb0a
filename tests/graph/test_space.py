"""The search space and the well-known recipes in it."""

from __future__ import annotations

from pathlib import Path

import onnx
import pytest

from edgeopt.core.region import Region
from edgeopt.graph import precision, rewriting
from edgeopt.graph.references import references
from edgeopt.graph.rewrites import roll_lstm
from edgeopt.graph.space import search_space
from edgeopt.testing.precision import Bench, example
from tests.graph import networks
from tests.graph.made import model


def test_points_follow_the_regions_and_the_runtime_comes_last(tmp_path: Path) -> None:
    space = search_space(networks.network(tmp_path, networks.CNN), lossy=True, cores=4)
    order = [region.name for region in space.regions]
    placed = [(order.index(str(p.region)), p.family == "precision") for p in space.points if p.region]
    assert placed == sorted(placed)
    assert [p.site for p in space.points[-3:]] == [
        "runtime:threads", "runtime:graph_optimization_level", "runtime:allow_spinning",
    ]  # fmt: skip
    assert [p.site for p in space.points[-7:-3]] == [
        "quantization:ranges", "quantization:weights", "quantization:equalized", "quantization:activations",
    ]  # fmt: skip
    assert {p.family for p in space.points[:-7]} == {"rewrite", "precision"}


def test_the_form_of_activations_is_no_decision_where_the_runtime_has_kernels_of_one(tmp_path: Path) -> None:
    model = networks.network(tmp_path, networks.CNN)
    for unsigned in (False, True):
        space = search_space(model, lossy=True, cores=4, unsigned=unsigned)
        assert any(p.site == "quantization:activations" for p in space.points) is not unsigned


def test_every_default_leaves_the_model_as_it_is(tmp_path: Path) -> None:
    space = search_space(networks.network(tmp_path, networks.CNN), lossy=True, cores=4)
    chosen = {p.default for p in space.points if p.family != "runtime"}
    assert chosen == {
        "off",
        "float32",
        "minmax",
        "nearest",
        "signed",
    }  # which changes nothing without static int8


@pytest.mark.parametrize(
    ("cores", "options"),
    [(1, ("1",)), (2, ("1", "2")), (3, ("1", "2", "3")), (4, ("1", "2", "4")), (6, ("1", "2", "4", "6"))],
)
def test_threads_are_powers_of_two_and_all_cores(
    cores: int, options: tuple[str, ...], tmp_path: Path
) -> None:
    space = search_space(networks.network(tmp_path, networks.MLP), lossy=False, cores=cores)
    assert space["runtime:threads"].options == options
    assert space["runtime:threads"].default == str(cores)


def test_without_data_nothing_lossy_is_offered(tmp_path: Path) -> None:
    space = search_space(networks.network(tmp_path, networks.CNN), lossy=False, cores=2)
    assert {p.family for p in space.points} == {"rewrite", "runtime"}
    assert [name for name, _ in references(space, 2)] == ["rewrites-only", "threads-1"]


def test_a_scheme_is_offered_only_where_it_applies(tmp_path: Path) -> None:
    space = search_space(networks.network(tmp_path, networks.LSTM), lossy=True, cores=2)
    region = next(r for r in space.regions if "LSTM" in r.op_types)
    assert space[f"precision@{region.name}"].options == (
        "float32", "float16_weights", "int8_dynamic", "int8_static_channel", "int8_static_tensor",
        "int8_weights",
    )  # fmt: skip


def test_an_old_opset_is_raised_so_that_int8_per_channel_is_offered(tmp_path: Path) -> None:
    text = networks.RESIDUAL.replace("17", "11", 1)
    bench = Bench.of(networks.network(tmp_path, text), tmp_path)
    candidate = bench.everywhere("int8_static_channel")
    assert bench.builder.build(candidate).opset == 13
    assert bench.error(candidate) < 0.1
    assert bench.builder.build(bench.space.default()).opset == 11


def test_what_is_quantized_already_has_no_precision(tmp_path: Path) -> None:
    text = """<ir_version: 8, opset_import: ["": 13]>
    quantized (float[1, 64] x) => (float[1, 64] y)
    <int8[64, 64] w, float s = {0.01}, int8 z = {0}, float[64, 64] v> {
        q = QuantizeLinear(x, s, z)
        d = DequantizeLinear(q, s, z)
        dw = DequantizeLinear(w, s, z)
        m = MatMul(d, dw)
        y = MatMul(m, v)
    }"""
    import numpy as np
    from onnx import numpy_helper, parser

    proto = parser.parse_model(text)
    for name, array in (("w", np.eye(64, dtype=np.int8)), ("v", np.eye(64, dtype=np.float32))):
        proto.graph.initializer.append(numpy_helper.from_array(array, name))
    space = search_space(model(tmp_path / "q.onnx", proto), lossy=True, cores=2)
    by_region: dict[str, Region] = {r.name: r for r in space.regions}
    decided = [by_region[str(p.region)].nodes for p in space.points if p.family == "precision"]
    assert len(decided) == 1
    assert not any("Quantize" in op for p in space.points if p.region for op in by_region[p.region].op_types)


def test_references_are_the_well_known_recipes(tmp_path: Path) -> None:
    space = search_space(networks.network(tmp_path, networks.CNN), lossy=True, cores=4)
    found = dict(references(space, 4))
    assert list(found) == [
        "int8-static-per-tensor", "int8-static-per-channel", "int8-dynamic", "float16-storage",
        "int8-weight-only", "int4-weight-only", "rewrites-only", "threads-1",
    ]  # fmt: skip
    chosen = found["int8-static-per-channel"]
    for point in space.points:
        if point.family == "precision" and "int8_static_channel" in point.options:
            assert chosen.chosen(point.site) == "int8_static_channel"
        if point.family == "rewrite":
            assert chosen.chosen(point.site) == ("on" if rewriting.is_usual(str(point.name)) else "off")
        if point.family == "runtime":
            assert chosen.chosen(point.site) == point.default
    assert space.default() not in found.values()
    assert len(set(found.values())) == len(found)


def test_where_the_size_decides_a_recipe_leaves_no_weight_in_float32(tmp_path: Path) -> None:
    space = search_space(networks.network(tmp_path, networks.LSTM), lossy=True, cores=1)
    recipe = dict(references(space, 1, small=True))["int4-weight-only"]
    lstm = next(r.name for r in space.regions if "LSTM" in r.op_types)
    assert recipe.chosen(f"precision@{lstm}") == "float16_weights"  # int4 has no kernel for it
    assert "int4_weights" in recipe.of_family("precision").values()
    assert dict(references(space, 1))["int4-weight-only"].chosen(f"precision@{lstm}") == "float32"


def test_a_loop_that_was_rolled_into_an_lstm_has_its_schemes(tmp_path: Path) -> None:
    bench = Bench.of(example(roll_lstm.EXAMPLES[0].model, tmp_path), tmp_path)
    built = bench.builder.build(bench.everywhere("int8_static_channel", "on"))
    assert [node.op_type for node in onnx.load(built.path).graph.node].count("DynamicQuantizeLSTM") == 1


def test_every_scheme_has_a_recipe(tmp_path: Path) -> None:
    space = search_space(networks.network(tmp_path, networks.CNN), lossy=True, cores=1)
    used = {o for _, candidate in references(space, 1) for o in candidate.of_family("precision").values()}
    assert used == set(precision.names())
