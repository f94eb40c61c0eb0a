"""What is excused as rounding where outputs cancel, and what is not."""

from __future__ import annotations

from pathlib import Path

import onnx
import pytest

from edgeopt.graph import rewriting
from edgeopt.graph.interface import annotate
from edgeopt.graph.model import to_bytes
from edgeopt.graph.regions import regions, tag
from edgeopt.testing.random_graphs import BYTES, RTOL
from edgeopt.testing.rounding import is_rounding
from tests.graph.made import model

CANCELS = """<ir_version: 8, opset_import: ["": 17]> g (float[1,2,6,6] x) => (float[1,2,1,1] y)
  <float w = {%.9f}> {
  a = Mul(x, w)
  n = Neg(x)
  c = Concat <axis = 2> (a, n)
  y = GlobalAveragePool(c) }"""

SCALAR = (
    CANCELS.replace("float[1,2,1,1] y", "float y")
    .replace("y = Global", "z = Global")
    .replace("(c) }", "(c) y = ReduceSum <keepdims = 0> (z) }")
)

SENSITIVE = """<ir_version: 8, opset_import: ["": 17]> g (float[4] x) => (float[4] y)
  <float big = {1e4}, float w = {%.9f}> {
  s = Mul(x, big)
  f = Sin(s)
  y = Mul(f, w) }"""
"""A nudge of 1e-6 changes the outputs by 1e-2: what sensitivity alone excused."""


@pytest.mark.parametrize(
    ("text", "factor", "is_excused"),
    [
        (CANCELS, 1 + 1e-7, True),
        (SCALAR, 1 + 1e-7, True),
        (CANCELS, 1.001, False),
        (SENSITIVE, 1.01, False),
    ],
    ids=["rounding", "rounding of a scalar", "cancels but is wrong", "sensitive but is wrong"],
)
def test_only_what_rounding_can_do_to_outputs_that_cancel_is_excused(
    text: str, factor: float, is_excused: bool, tmp_path: Path
) -> None:
    original, other = (model(tmp_path / f"{f}.onnx", text % f) for f in (1.0, factor))
    assert is_rounding(original, to_bytes(other.ir), RTOL) is is_excused


def test_another_type_is_no_rounding(tmp_path: Path) -> None:
    original = model(tmp_path / "m.onnx", CANCELS % 1.0)
    text = CANCELS.replace("y = Global", "z = Global").replace("(c) }", "(c) y = Cast <to = 11> (z) }")
    other = model(tmp_path / "wide.onnx", text.replace("=> (float", "=> (double") % 1.0)
    assert not is_rounding(original, to_bytes(other.ir), RTOL)


def test_models_that_take_bytes_are_given_bytes(tmp_path: Path) -> None:
    original = model(tmp_path / "m.onnx", CANCELS % 1.0)
    annotate(original.ir, {spec.name: BYTES for spec in original.inputs})
    graph = original.ir.clone()
    tag(graph, regions(original))
    done = rewriting.apply(graph, lambda name, _: name == "uint8_input")
    assert [each.rewrite for each in done] == ["uint8_input"]
    assert graph.graph.inputs[0].dtype == onnx.TensorProto.UINT8
    assert is_rounding(original, to_bytes(graph), RTOL)
