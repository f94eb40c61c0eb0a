"""Arithmetic of nodes, counted by hand."""

from __future__ import annotations

from pathlib import Path

import pytest

from edgeopt.graph.flops import node_flops
from tests.graph.made import model

CASES = {
    "Conv": ("float[1,4,5,5] x", "float[6,2,3,3] w", "Conv <group = 2> (x, w)", 2 * 6 * 3 * 3 * 2 * 9),
    "ConvTranspose": ("float[1,2,3,3] x", "float[2,5,2,2] w", "ConvTranspose(x, w)", 2 * 2 * 9 * 5 * 4),
    "MatMul": ("float[7,2,3] x", "float[3,4] w", "MatMul(x, w)", 2 * 7 * 2 * 4 * 3),
    "Gemm": ("float[3,2] x", "float[4,3] w", "Gemm <transA = 1, transB = 1> (x, w)", 2 * 2 * 4 * 3),
    "Einsum": ("float[2,3] x", "float[3,4] w", 'Einsum <equation = "ij,jk->ik"> (x, w)', 2 * 2 * 3 * 4),
    "MaxPool": ("float[1,1,4,4] x", "float[1] w", "MaxPool <kernel_shape = [2, 2]> (x)", 9 * 4),
    "GlobalAveragePool": ("float[1,2,4,4] x", "float[1] w", "GlobalAveragePool(x)", 32),
    "ReduceSum": ("float[3,4] x", "float[1] w", "ReduceSum(x)", 12),
    "Relu": ("float[3,4] x", "float[1] w", "Relu(x)", 12),
    "Transpose": ("float[3,4] x", "float[1] w", "Transpose(x)", 0),
}


@pytest.mark.parametrize("operator", CASES)
def test_an_operator_is_counted(tmp_path: Path, operator: str) -> None:
    x, w, call, expected = CASES[operator]
    text = f"""<ir_version: 8, opset_import: ["": 17]>
    g ({x}, {w}) => (float[a] y) {{ z = {call} f = Flatten(z) y = Neg(f) }}"""
    text = text.replace("float[a] y", "float y").replace("f = Flatten(z) y = Neg(f)", "y = ReduceMax(z)")
    nodes = list(
        model(tmp_path / "m.onnx", text.replace("ReduceMax(z)", "ReduceMax <keepdims = 0> (z)")).ir.graph
    )
    assert nodes[0].op_type == operator
    assert node_flops(nodes[0]) == expected


@pytest.mark.parametrize(("operator", "gates"), [("LSTM", 4), ("GRU", 3), ("RNN", 1)])
def test_recurrences_count_both_products(tmp_path: Path, operator: str, gates: int) -> None:
    weights = ", ".join(["0.1"] * (gates * 5 * 3)), ", ".join(["0.1"] * (gates * 5 * 5))
    text = f"""<ir_version: 8, opset_import: ["": 17]>
    g (float[7,2,3] x) => (float[7,1,2,5] y)
      <float[1,{gates * 5},3] w = {{{weights[0]}}}, float[1,{gates * 5},5] r = {{{weights[1]}}}>
    {{ y = {operator} <hidden_size = 5> (x, w, r) }}"""
    (node,) = model(tmp_path / "m.onnx", text).ir.graph
    assert node_flops(node) == 2 * 7 * 2 * gates * 5 * (3 + 5)


def test_what_depends_on_the_data_is_unknown(tmp_path: Path) -> None:
    text = """<ir_version: 8, opset_import: ["": 17]>
    g (float[4] x) => (int64[1,k] y) { n = NonZero(x) y = Neg(n) }"""
    _, negation = model(tmp_path / "m.onnx", text).ir.graph
    assert node_flops(negation) is None
