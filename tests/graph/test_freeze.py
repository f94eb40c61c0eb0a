"""Fixing shapes: what settles them, what is refused, and what follows for the values in between."""

from __future__ import annotations

from pathlib import Path

import onnx_ir
import pytest

from edgeopt.core.errors import ConfigError, ModelError
from edgeopt.graph.model import Model, freeze, load
from tests.graph.made import model, save

TWO = """<ir_version: 8, opset_import: ["": 17]>
two (float[batch,3] a, float[batch,3] b) => (float[batch,3] y) { s = Add(a, b) y = Relu(s) }"""

THROUGH_VALUES = """<ir_version: 8, opset_import: ["": 17]>
g (float[N,4,6] x) => (float[a,b] y) <int64[1] zero = {0}, int64[1] one = {1}, int64[1] rest = {-1}>
{ s = Shape(x)
  n = Slice(s, zero, one)
  f = Cast <to = 1> (n)
  d = Cast <to = 7> (f)
  t = Concat <axis = 0> (d, rest)
  y = Reshape(x, t) }"""


def shapes(frozen: Model) -> dict[str, onnx_ir.Shape | None]:
    return {str(o.name): o.shape for node in frozen.ir.graph for o in node.outputs}


def test_given_shapes_reach_every_value(tmp_path: Path) -> None:
    frozen = model(tmp_path / "m.onnx", TWO, a=(2, 3), b=(2, 3))
    assert [spec.shape for spec in (*frozen.inputs, *frozen.outputs)] == [(2, 3)] * 3
    assert all(shape == [2, 3] for shape in shapes(frozen).values())


def test_a_size_that_inputs_share_needs_to_be_given_once(tmp_path: Path) -> None:
    frozen = model(tmp_path / "m.onnx", TWO, b=(5, 3))
    assert frozen.inputs[0].shape == (5, 3)


def test_shapes_that_pass_through_computed_values_are_found(tmp_path: Path) -> None:
    frozen = model(tmp_path / "m.onnx", THROUGH_VALUES, x=(2, 4, 6))
    assert frozen.outputs[0].shape == (2, 24)
    assert len(frozen.ir.graph) == 6  # nothing was folded: that is a rewrite's decision


def test_shapes_that_pass_through_an_output_are_found_in_old_operator_sets(tmp_path: Path) -> None:
    text = """<ir_version: 8, opset_import: ["": 9]> g (float[2,3,4] x) => (float[a,b] y, int64[2] n)
    <int64[1] zero = {0}, int64[1] rest = {-1}>
    { s = Shape(x) f = Gather <axis = 0> (s, zero) n = Concat <axis = 0> (f, rest)
      r = Reshape(x, n) y = Relu(r) }"""
    frozen = model(tmp_path / "m.onnx", text)
    assert shapes(frozen)["r"] == [2, 12]
    assert [spec.shape for spec in frozen.outputs] == [(2, 12), (2,)]


def test_the_given_model_is_left_as_it_was(tmp_path: Path) -> None:
    loaded = load(save(tmp_path / "m.onnx", TWO))
    freeze(loaded, {"a": (2, 3)})
    assert loaded.inputs[0].shape == (None, 3)
    assert loaded.ir.graph.inputs[0].shape == ["batch", 3]


def test_a_shape_that_depends_on_the_data_stays_open(tmp_path: Path) -> None:
    text = """<ir_version: 8, opset_import: ["": 17]>
    g (float[N] x) => (int64[1,k] y) { y = NonZero(x) }"""
    frozen = model(tmp_path / "m.onnx", text, x=(4,))
    assert frozen.outputs[0].shape == (1, None)


def test_constants_become_initializers_of_the_same_name(tmp_path: Path) -> None:
    text = """<ir_version: 8, opset_import: ["": 17]>
    g (float[2] x) => (float[2] y) { c = Constant <value_float = 2.0> () y = Mul(x, c) }"""
    frozen = model(tmp_path / "m.onnx", text)
    assert [node.op_type for node in frozen.ir.graph] == ["Mul"]
    assert "c" in frozen.ir.graph.initializers


def test_nodes_of_the_same_name_are_told_apart(tmp_path: Path) -> None:
    loaded = load(save(tmp_path / "m.onnx", TWO))
    for node in loaded.ir.graph:
        node.name = "same"
    frozen = freeze(loaded, {"a": (1, 3)})
    assert [node.name for node in frozen.ir.graph] == ["same", "same_2"]


def test_an_open_input_is_refused_naming_the_flag(tmp_path: Path) -> None:
    with pytest.raises(ModelError, match="open sizes") as caught:
        model(tmp_path / "m.onnx", TWO)
    assert "--shape a=N,3" in (caught.value.hint or "")


@pytest.mark.parametrize(
    ("given", "words"),
    [
        ({"a": (2, 3, 1)}, "2 axes"),
        ({"a": ()}, "2 axes"),
        ({"a": (2, 4)}, "contradicts"),
        ({"a": (2, 3), "b": (3, 3)}, "share the size 'batch'"),
    ],
    ids=["too many axes", "too few axes", "another size", "shared size"],
)
def test_shapes_that_cannot_be_are_refused(
    tmp_path: Path, given: dict[str, tuple[int, ...]], words: str
) -> None:
    with pytest.raises(ModelError, match=words):
        model(tmp_path / "m.onnx", TWO, **given)


def test_an_unknown_input_is_wrong_usage(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="no such input") as caught:
        model(tmp_path / "m.onnx", TWO, c=(1, 3))
    assert "a, b" in (caught.value.hint or "")


@pytest.mark.parametrize("size", [0, -1])
def test_sizes_below_1_are_wrong_usage(tmp_path: Path, size: int) -> None:
    with pytest.raises(ConfigError, match="1 or more"):
        model(tmp_path / "m.onnx", TWO, a=(size, 3))


def test_shapes_that_the_graph_cannot_work_with_are_refused(tmp_path: Path) -> None:
    text = """<ir_version: 8, opset_import: ["": 17]>
    g (float[N,K] a, float[L,M] b) => (float[N,M] y) { y = MatMul(a, b) }"""
    with pytest.raises(ModelError, match="does not work with the shapes"):
        model(tmp_path / "m.onnx", text, a=(2, 3), b=(4, 5))
