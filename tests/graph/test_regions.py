"""Regions: every node in one, never in a circle, stable readable names, repeated blocks recognised."""

from __future__ import annotations

import random
import time
from pathlib import Path

import onnx
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from onnx import TensorProto, helper

from edgeopt.core.region import Region
from edgeopt.graph.model import Model, freeze, load
from edgeopt.graph.regions import region_of, regions, tag
from tests.graph.made import model, save
from tests.graph.mobilenet import mobilenet_v2

RESIDUAL = """<ir_version: 8, opset_import: ["": 17]>
residual (float[1,2,4,4] x) => (float[1,2,2,2] y)
  <float[2,2,1,1] w = {1, 2, 3, 4}, int64[8] pads = {0, 0, 0, 0, 0, 0, 0, 0}, float[2,1,1] b = {1, 2}>
{
  [first] c1 = Conv(x, w)
  [bias] a1 = Add(c1, b)
  [act] r1 = Relu(a1)
  [pad] p = Pad(r1, pads)
  [second] c2 = Conv(p, w)
  [join] j = Add(c2, r1)
  [after] q = Relu(j)
  [pool] y = MaxPool <kernel_shape = [2, 2], strides = [2, 2]> (q)
}"""


def by_name(found: tuple[Region, ...]) -> dict[str, tuple[str, ...]]:
    return {region.name: region.nodes for region in found}


def sound(frozen: Model) -> tuple[Region, ...]:
    """The regions, after checking what must hold of any graph's."""
    found = regions(frozen)
    nodes = [name for region in found for name in region.nodes]
    assert sorted(nodes) == sorted(str(node.name) for node in frozen.ir.graph)
    assert len({region.name for region in found}) == len(found)
    seen: set[str] = set()
    for region in found:
        assert set(region.predecessors) <= seen
        seen.add(region.name)
    return found


def test_anchors_take_their_surroundings_and_joins_begin_anew(tmp_path: Path) -> None:
    found = sound(model(tmp_path / "m.onnx", RESIDUAL))
    assert by_name(found) == {
        "first": ("first", "bias", "act"),
        "second": ("pad", "second"),
        "join": ("join", "after", "pool"),
    }
    assert found[2].predecessors == ("second", "first")
    assert found[1].inputs == ("r1",)
    assert found[0].outputs == ("r1",)


def test_costs_are_counted(tmp_path: Path) -> None:
    first, second, join = regions(model(tmp_path / "m.onnx", RESIDUAL))
    assert first.flops == 2 * 2 * 16 * 2 + 32 + 32  # Conv, Add, Relu
    assert first.weight_bytes == (4 + 2) * 4
    assert (first.input_bytes, first.output_bytes) == (128, 128)
    assert (join.input_bytes, join.output_bytes) == (256, 32)
    assert second.flops == 2 * 2 * 16 * 2


def test_quantized_nodes_stay_with_what_they_serve(tmp_path: Path) -> None:
    text = """<ir_version: 8, opset_import: ["": 17]>
    qdq (float[1,2,2,2] x) => (float[1,2,2,2] y)
      <float s = {0.1}, int8 z = {0}, int8[2,2,1,1] wq = {1, 2, 3, 4}>
    {
      [quantize] xq = QuantizeLinear(x, s, z)
      [dequantize] xd = DequantizeLinear(xq, s, z)
      [weight] w = DequantizeLinear(wq, s, z)
      [conv] c = Conv(xd, w)
      [out_q] cq = QuantizeLinear(c, s, z)
      [out_d] y = DequantizeLinear(cq, s, z)
    }"""
    found = by_name(sound(model(tmp_path / "m.onnx", text)))
    assert found["conv"] == ("dequantize", "weight", "conv", "out_q", "out_d")


def test_constants_and_shapes_belong_to_their_reader(tmp_path: Path) -> None:
    text = """<ir_version: 8, opset_import: ["": 17]>
    g (float[2,3] x) => (float[3,4] y) <float[2,4] v = {1, 2, 3, 4, 5, 6, 7, 8}, int64[2] i = {1, 0}>
    {
      [shape] s = Shape(x)
      [swap] t = Gather(s, i)
      [reshape] r = Reshape(x, t)
      [product] y = MatMul(r, v)
    }"""
    found = by_name(sound(model(tmp_path / "m.onnx", text)))
    assert found == {"reshape": ("shape", "swap", "reshape"), "product": ("product",)}


def test_an_embedding_begins_a_region(tmp_path: Path) -> None:
    text = """<ir_version: 8, opset_import: ["": 17]>
    g (int64[2] i) => (float[2,2] y) <float[3,2] table = {1, 2, 3, 4, 5, 6}>
    { [id] j = Identity(i) [lookup] e = Gather(table, j) [act] y = Relu(e) }"""
    assert by_name(sound(model(tmp_path / "m.onnx", text))) == {"id": ("id",), "lookup": ("lookup", "act")}


def test_control_flow_is_a_region_that_reads_what_its_branches_read(tmp_path: Path) -> None:
    text = """<ir_version: 8, opset_import: ["": 17]>
    g (bool b, float[2] x) => (float[2] y) {
      [neg] n = Neg(x)
      [if] y = If (b) <then_branch = t () => (float[2] p) { p = Add(n, n) },
                       else_branch = e () => (float[2] q) { q = Abs(n) }>
    }"""
    found = sound(model(tmp_path / "m.onnx", text))
    assert by_name(found) == {"neg": ("neg",), "if": ("if",)}
    assert found[1].inputs == ("b", "n")
    assert found[1].predecessors == ("neg",)


def test_mobilenet_v2_has_about_one_region_per_convolution_and_join(tmp_path: Path) -> None:
    found = sound(model(tmp_path / "m.onnx", mobilenet_v2(batchnorm=True)))
    assert 55 <= len(found) <= 70
    assert len({region.pattern for region in found}) < len(found) - 15
    assert sum(region.flops for region in found) == pytest.approx(2 * 300e6, rel=0.1)  # published: 300 M MACs


def test_the_pattern_is_blind_to_names_and_weights_but_not_to_shapes(tmp_path: Path) -> None:
    text = """<ir_version: 8, opset_import: ["": 17]>
    g (float[2,4] x) => (float[2,3] y) <float[4,4] u = {U}, float[4,4] v = {V}, float[4,3] w = {W}>
    {
      [a] p = MatMul(x, u) [b] q = Relu(p)
      [c] r = MatMul(q, v) [d] s = Relu(r)
      [e] t = MatMul(s, w) [f] y = Relu(t)
    }"""
    for name, count in (("U", 16), ("V", 16), ("W", 12)):
        text = text.replace(f"{{{name}}}", "{" + ", ".join(str(random.random()) for _ in range(count)) + "}")
    first, second, third = regions(model(tmp_path / "m.onnx", text))
    assert first.pattern == second.pattern != third.pattern


def test_regions_are_the_same_every_time(tmp_path: Path) -> None:
    path = save(tmp_path / "m.onnx", RESIDUAL)
    assert regions(freeze(load(path), {})) == regions(freeze(load(path), {}))


def test_names_of_fused_tensorflow_nodes_are_cut_and_stay_unique(tmp_path: Path) -> None:
    frozen = model(tmp_path / "m.onnx", RESIDUAL)
    for node in frozen.ir.graph:
        if node.op_type == "Conv":
            node.name = f"model/conv;{node.name};and/so/on"
    assert [region.name for region in sound(frozen)][:2] == ["model/conv", "model/conv_2"]


def test_tag_writes_the_region_into_every_node(tmp_path: Path) -> None:
    frozen = model(tmp_path / "m.onnx", RESIDUAL)
    found = regions(frozen)
    copy = frozen.ir.clone()
    tag(copy, found)
    for region in found:
        assert {region_of(copy.graph.node(name)) for name in region.nodes} == {region.name}
    assert {region_of(node) for node in frozen.ir.graph} == {""}


def random_graph(seed: int, length: int) -> onnx.ModelProto:
    """Convolutions, activations and joins of any two earlier values, all of one shape."""
    chooser = random.Random(seed)
    values, nodes = ["x"], []
    for index in range(length):
        kind = chooser.choice(["Conv", "Relu", "Add", "Concat", "Pad"])
        first, second = chooser.choice(values[-6:]), chooser.choice(values)
        output = f"v{index}"
        if kind == "Conv":
            nodes.append(helper.make_node("Conv", [first, "w"], [output]))
        elif kind == "Pad":
            nodes.append(helper.make_node("Pad", [first, "pads"], [output]))
        elif kind == "Relu":
            nodes.append(helper.make_node("Relu", [first], [output]))
        else:
            nodes.append(helper.make_node("Add", [first, second], [output]))
        values.append(output)
    return helper.make_model(
        helper.make_graph(
            nodes,
            "random",
            [helper.make_tensor_value_info("x", TensorProto.FLOAT, [1, 1, 2, 2])],
            [helper.make_tensor_value_info(values[-1], TensorProto.FLOAT, [1, 1, 2, 2])],
            [
                helper.make_tensor("w", TensorProto.FLOAT, [1, 1, 1, 1], [1.0]),
                helper.make_tensor("pads", TensorProto.INT64, [8], [0] * 8),
            ],
        ),
        ir_version=8,
        opset_imports=[helper.make_opsetid("", 17)],
    )


@settings(max_examples=40, deadline=None)
@given(seed=st.integers(0, 10_000), length=st.integers(1, 40))
def test_no_graph_makes_regions_depend_on_each_other_in_a_circle(
    tmp_path_factory: pytest.TempPathFactory, seed: int, length: int
) -> None:
    path = tmp_path_factory.mktemp("random") / "m.onnx"
    sound(model(path, random_graph(seed, length)))


def test_time_grows_with_the_number_of_nodes_not_with_its_square(tmp_path: Path) -> None:
    small, large = (model(tmp_path / f"{n}.onnx", random_graph(1, n)) for n in (250, 2000))
    assert seconds(large) < 3 * 8 * seconds(small)


def seconds(frozen: Model) -> float:
    times = []
    for _ in range(3):
        start = time.process_time()
        regions(frozen)
        times.append(time.process_time() - start)
    return min(times)
