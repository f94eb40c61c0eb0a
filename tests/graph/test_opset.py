"""Raising the operator set: checked, with names and regions kept, or the model as it was."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from edgeopt.graph.model import at_least_opset, to_bytes
from edgeopt.graph.regions import region_of, regions, tag
from tests.graph.made import model, outputs

OLD = """<ir_version: 7, opset_import: ["": 12]>
g (float[2,3,1] x) => (float[2] y) <float[2,3] w = {1, 2, 3, 4, 5, 6}>
{ s = Squeeze <axes = [2]> (x)
  m = Mul(s, w)
  p = Softmax(m)
  y = ReduceSum <axes = [1], keepdims = 0> (p) }"""


def test_a_model_that_is_new_enough_is_returned_itself(tmp_path: Path) -> None:
    given = model(tmp_path / "m.onnx", OLD).ir
    assert at_least_opset(given, 12) is given


def test_names_regions_and_results_survive(tmp_path: Path) -> None:
    frozen = model(tmp_path / "m.onnx", OLD)
    found = regions(frozen)
    tag(frozen.ir, found)
    raised = at_least_opset(frozen.ir, 13)
    assert raised.graph.opset_imports[""] == 13
    before = {str(node.name): region_of(node) for node in frozen.ir.graph}
    after = {str(node.name): region_of(node) for node in raised.graph}
    assert before.items() <= after.items()
    assert set(after.values()) == {region.name for region in found}
    x = np.random.default_rng(0).standard_normal((2, 3, 1)).astype(np.float32)
    np.testing.assert_allclose(
        outputs(to_bytes(frozen.ir), x=x)[0], outputs(to_bytes(raised), x=x)[0], rtol=1e-6
    )


def test_what_cannot_be_converted_is_returned_itself(tmp_path: Path) -> None:
    given = model(tmp_path / "m.onnx", OLD).ir
    assert at_least_opset(given, 999) is given
    assert given.graph.opset_imports[""] == 12


def test_operators_of_other_domains_survive(tmp_path: Path) -> None:
    text = """<ir_version: 7, opset_import: ["": 12, "com.microsoft": 1]>
    g (float[2,1] x) => (float[2] y) { a = com.microsoft.Gelu(x) y = Squeeze <axes = [1]> (a) }"""
    frozen = model(tmp_path / "m.onnx", text)
    raised = at_least_opset(frozen.ir, 13)
    assert [node.op_type for node in raised.graph] == ["Gelu", "Squeeze"]  # no Constant for the new axes
    x = np.ones((2, 1), np.float32)
    assert outputs(to_bytes(raised), x=x)[0].tolist() == outputs(to_bytes(frozen.ir), x=x)[0].tolist()
