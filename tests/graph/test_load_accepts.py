"""Models that must work: old opsets, quantized, other domains, control flow, and odd inputs."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import pytest

from edgeopt.core.tensor import TensorSpec
from edgeopt.graph.model import freeze, load, to_bytes
from edgeopt.graph.regions import regions
from tests.graph.made import RELU, outputs, save

QDQ = """<ir_version: 8, opset_import: ["": 17]>
qdq (float[1,4] x) => (float[1,4] y) <float scale = {0.1}, int8 zero = {0}>
{ q = QuantizeLinear(x, scale, zero)
  y = DequantizeLinear(q, scale, zero) }"""

MICROSOFT = """<ir_version: 8, opset_import: ["": 17, "com.microsoft": 1]>
gelu (float[N,4] x) => (float[N,4] y) { y = com.microsoft.Gelu(x) }"""

FUNCTION = """<ir_version: 8, opset_import: ["": 17, "local": 1]>
call (float[N] x) => (float[N] y) { a = local.twice(x) y = local.twice(a) }
<opset_import: ["": 17], domain: "local"> twice (v) => (w) { w = Add(v, v) }"""

BRANCH = """<ir_version: 8, opset_import: ["": 17]>
branch (bool b, float[2] x) => (float[2] y) {
  n = Neg(x)
  y = If (b) <then_branch = t () => (float[2] p) { p = Add(n, n) },
              else_branch = e () => (float[2] q) { q = Identity(x) }>
}"""

LOOP = """<ir_version: 8, opset_import: ["": 17]>
loop (float[1] x) => (float[1] y) <int64 three = {3}, bool yes = {1}>
{
  y = Loop (three, yes, x) <body = b (int64 i, bool go, float[1] v) => (bool more, float[1] w) {
    more = Identity(go)
    w = Add(v, v)
  }>
}"""


def test_inputs_and_outputs_are_described(tmp_path: Path) -> None:
    model = load(save(tmp_path / "m.onnx", RELU.replace("float[1,4] x", "float[N,4] x")))
    assert model.inputs == (TensorSpec("x", "float32", (None, 4)),)
    assert model.outputs == (TensorSpec("y", "float32", (1, 4)),)
    assert (model.opset, model.ir_version, model.is_quantized) == (17, 8, False)
    assert model.path.is_absolute()


def works(tmp_path: Path, text: str | onnx.ModelProto, **feeds: object) -> list[np.ndarray]:
    """Load, freeze to the feeds' shapes, cut into regions, and run; equal to running the file itself."""
    path = save(tmp_path / "m.onnx", text)
    model = load(path)
    arrays = {name: np.asarray(value) for name, value in feeds.items()}
    frozen = freeze(model, {name: array.shape for name, array in arrays.items()})
    assert [spec.name for spec in frozen.inputs] == list(feeds)
    assert sum(len(region.nodes) for region in regions(frozen)) == len(frozen.ir.graph)
    expected = outputs(path.read_bytes(), **arrays)
    found = outputs(to_bytes(frozen.ir), **arrays)
    for before, after in zip(expected, found, strict=True):
        np.testing.assert_array_equal(before, after)
    return found


def test_opset_12_works(tmp_path: Path) -> None:
    text = RELU.replace("17", "12").replace("ir_version: 8", "ir_version: 6")
    works(tmp_path, text, x=np.ones((1, 4), np.float32))


def test_a_quantized_model_works_and_is_known_as_such(tmp_path: Path) -> None:
    works(tmp_path, QDQ, x=np.full((1, 4), 0.52, np.float32))
    assert load(tmp_path / "m.onnx").is_quantized


def test_operators_of_com_microsoft_work_and_get_shapes(tmp_path: Path) -> None:
    works(tmp_path, MICROSOFT, x=np.ones((3, 4), np.float32))
    frozen = freeze(load(tmp_path / "m.onnx"), {"x": (3, 4)})
    assert frozen.outputs[0].shape == (3, 4)


def test_local_functions_are_inlined(tmp_path: Path) -> None:
    (y,) = works(tmp_path, FUNCTION, x=np.ones(3, np.float32))
    assert y.tolist() == [4, 4, 4]
    model = load(tmp_path / "m.onnx")
    assert [node.op_type for node in model.ir.graph] == ["Add", "Add"]
    assert list(model.ir.graph.opset_imports) == [""] or "local" not in to_bytes(model.ir).decode("latin1")


@pytest.mark.parametrize("taken", [True, False])
def test_if_works(tmp_path: Path, taken: bool) -> None:
    (y,) = works(tmp_path, BRANCH, b=np.asarray(taken), x=np.ones(2, np.float32))
    assert y.tolist() == ([-2, -2] if taken else [1, 1])


def test_loop_works(tmp_path: Path) -> None:
    (y,) = works(tmp_path, LOOP, x=np.ones(1, np.float32))
    assert y.tolist() == [8]


def test_an_input_without_a_batch_axis_works(tmp_path: Path) -> None:
    works(tmp_path, RELU.replace("[1,4]", "[K]"), x=np.ones(5, np.float32))


def test_a_scalar_input_works(tmp_path: Path) -> None:
    text = """<ir_version: 8, opset_import: ["": 17]>
    g (float[N] x, int64 rate) => (float[N] y) { r = Cast <to = 1> (rate) y = Mul(x, r) }"""
    works(tmp_path, text, x=np.ones(2, np.float32), rate=np.asarray(3, np.int64))


def test_batch_on_axis_1_works(tmp_path: Path) -> None:
    weights = ", ".join("0.1" for _ in range(8))
    text = f"""<ir_version: 8, opset_import: ["": 17]>
    g (float[T,B,2] x) => (float[T,1,B,1] y)
      <float[1,4,2] w = {{{weights}}}, float[1,4,1] r = {{0.1, 0.1, 0.1, 0.1}}>
    {{ y = LSTM <hidden_size = 1> (x, w, r) }}"""
    works(tmp_path, text, x=np.ones((3, 2, 2), np.float32))


def test_an_initializer_that_is_also_an_input_is_a_constant(tmp_path: Path) -> None:
    text = """<ir_version: 3, opset_import: ["": 9]>
    g (float[2] x, float[2] w) => (float[2] y) <float[2] w = {1, 2}> { y = Add(x, w) }"""
    works(tmp_path, text, x=np.zeros(2, np.float32))


def test_nameless_nodes_are_named_by_operator_and_place(tmp_path: Path) -> None:
    text = """<ir_version: 8, opset_import: ["": 17]>
    g (float[1] x) => (float[1] y) { a = Neg(x) b = Abs(a) y = Neg(b) }"""
    model = load(save(tmp_path / "m.onnx", text))
    assert [node.name for node in model.ir.graph] == ["Neg_0", "Abs_1", "Neg_2"]
