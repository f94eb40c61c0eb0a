"""GRU in integer products: every form of the operator, against the runtime's own kernel."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import onnx
import pytest

from edgeopt.testing.precision import Bench, example


def gru(tmp_path: Path, attributes: str, inputs: str, directions: int, steps: int = 5) -> Bench:
    text = f"""<ir_version: 8, opset_import: ["": 13]>
    rnn (float[{steps}, 2, 24] x, float[{directions}, 2, 32] h0)
        => (float[{steps}, {directions}, 2, 32] y, float[{directions}, 2, 32] h)
    <float[{directions}, 96, 24] w, float[{directions}, 96, 32] r, float[{directions}, 192] b> {{
        k = Abs(h0)
        y, h = GRU <hidden_size = 32 {attributes}> (x, w, r{inputs})
    }}"""
    return Bench.of(example(text, tmp_path), tmp_path)


@pytest.mark.parametrize(
    ("attributes", "inputs", "directions"),
    [
        ("", "", 1),
        ("", ", b, , k", 1),
        (", linear_before_reset = 1", ", b", 1),
        (', linear_before_reset = 1, direction = "reverse"', ", b, , k", 1),
        (', direction = "bidirectional"', ", b, , k", 2),
    ],
)
def test_every_form_of_gru_is_computed_in_int8(
    attributes: str, inputs: str, directions: int, tmp_path: Path
) -> None:
    bench = gru(tmp_path, attributes, inputs, directions)
    candidate = bench.everywhere("int8_dynamic")
    found = Counter(node.op_type for node in onnx.load(bench.builder.build(candidate).path).graph.node)
    assert found["GRU"] == 0
    products = 1 if "linear_before_reset" in attributes else 2
    assert found["DynamicQuantizeMatMul"] + found["MatMulIntegerToFloat"] == directions * (1 + 5 * products)
    assert bench.error(candidate) < 0.03


def test_a_decoder_written_out_step_by_step_stores_its_weights_once(tmp_path: Path) -> None:
    steps = "\n".join(
        f"y{i}, h{i + 1} = GRU <hidden_size = 32, linear_before_reset = 1> (x{i}, w, r, b, , h{i})\n"
        f"x{i + 1} = Squeeze(y{i}, axes)"
        for i in range(4)
    )
    text = f"""<ir_version: 8, opset_import: ["": 13]>
    decoder (float[1, 1, 32] x0, float[1, 1, 32] h0) => (float[1, 1, 32] x4)
    <float[1, 96, 32] w, float[1, 96, 32] r, float[1, 192] b, int64[1] axes = {{1}}> {{ {steps} }}"""
    bench = Bench.of(example(text, tmp_path), tmp_path)
    candidate = bench.everywhere("int8_dynamic")
    graph = onnx.load(bench.builder.build(candidate).path).graph
    assert sorted(tuple(t.dims) for t in graph.initializer if len(t.dims) == 2) == [(32, 96)] * 2
    assert bench.error(candidate) < 0.03


@pytest.mark.parametrize(("rows", "looked_up"), [(16, True), (48, False)])
def test_a_small_table_in_front_becomes_a_table_of_products(
    rows: int, looked_up: bool, tmp_path: Path
) -> None:
    text = f"""<ir_version: 8, opset_import: ["": 13]>
    speller (int64[1, 6] letters) => (float[1, 1, 40] h)
    <float[{rows}, 64] table, float[1, 120, 64] w, float[1, 120, 40] r, float[1, 240] b> {{
        e = Gather(table, letters)
        x = Transpose <perm = [1, 0, 2]> (e)
        y, h = GRU <hidden_size = 40, linear_before_reset = 1> (x, w, r, b)
    }}"""
    bench = Bench.of(example(text, tmp_path), tmp_path)
    candidate = bench.everywhere("int8_dynamic")
    graph = onnx.load(bench.builder.build(candidate).path).graph
    shapes = {tuple(tensor.dims) for tensor in graph.initializer}
    assert ((rows, 120) in shapes) == looked_up
    assert ((64, 120) in shapes) != looked_up
    assert ((rows, 64) in shapes) != looked_up
    assert bench.error(candidate) < 0.03


@pytest.mark.parametrize(
    ("attributes", "steps"), [('activations = ["Sigmoid", "Relu"]', 5), ("clip = 3.0", 5), ("", 33)]
)
def test_what_is_not_written_out_stays_float(attributes: str, steps: int, tmp_path: Path) -> None:
    bench = gru(tmp_path, f", {attributes}" if attributes else "", ", b", 1, steps)
    offered = [o for p in bench.space.points if p.family == "precision" for o in p.options]
    assert "int8_weights" in offered
    assert "int8_dynamic" not in offered
