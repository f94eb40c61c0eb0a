"""Dynamic int8: the fused operators are written as such."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import onnx

from edgeopt.testing.precision import Bench, example
from tests.graph import networks


def operators(bench: Bench) -> Counter[str]:
    path = bench.builder.build(bench.everywhere("int8_dynamic")).path
    return Counter(node.op_type for node in onnx.load(path).graph.node)


def test_products_that_read_one_tensor_share_its_quantization(tmp_path: Path) -> None:
    found = operators(Bench.of(networks.network(tmp_path, networks.TRANSFORMER), tmp_path))
    assert found["MatMulIntegerToFloat"] == 3
    assert found["DynamicQuantizeLinear"] == 1
    assert found["DynamicQuantizeMatMul"] == 3
    assert found["MatMul"] == 2  # of two activations


def test_the_bias_behind_a_product_is_part_of_it(tmp_path: Path) -> None:
    found = operators(Bench.of(networks.network(tmp_path, networks.MLP), tmp_path))
    assert found["DynamicQuantizeMatMul"] == 3
    assert found["Add"] == found["Gemm"] == found["MatMul"] == 0


def test_an_lstm_with_initial_state_and_final_state(tmp_path: Path) -> None:
    bench = Bench.of(networks.network(tmp_path, networks.LSTM), tmp_path)
    assert operators(bench)["DynamicQuantizeLSTM"] == 1
    assert bench.error(bench.everywhere("int8_dynamic")) < 0.05


def test_an_lstm_with_peepholes_stays_float(tmp_path: Path) -> None:
    text = """<ir_version: 8, opset_import: ["": 13]>
    peep (float[3, 1, 8] x) => (float[3, 1, 1, 8] y)
    <float[1, 32, 8] w, float[1, 32, 8] r, float[1, 64] b, float[1, 24] p> {
        y = LSTM <hidden_size = 8> (x, w, r, b, , , , p)
    }"""
    bench = Bench.of(example(text, tmp_path), tmp_path)
    assert operators(bench) == {"LSTM": 1}
    assert all("int8_dynamic" not in point.options for point in bench.space.points)


def test_an_embedding_before_a_transpose_keeps_its_sign(tmp_path: Path) -> None:
    """The runtime moves the pair past the Transpose: without a zero point it would take it for uint8."""
    text = """<ir_version: 8, opset_import: ["": 13]>
    words (int64[1, 7] i) => (float[7, 1, 64] y) <float[100, 64] table> {
        e = Gather(table, i)
        t = Transpose <perm = [1, 0, 2]> (e)
        y = Tanh(t)
    }"""
    bench = Bench.of(example(text, tmp_path), tmp_path)
    assert bench.error(bench.everywhere("int8_dynamic")) < 0.02
