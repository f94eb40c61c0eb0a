"""Folding: what is computed ahead of time is right, of the right type, and never too large."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx_ir
import pytest

from edgeopt.graph.constants import add_initializer, array_of, evaluate, foldable, scalar_of
from tests.graph.made import model


def head(initializers: str, body: str) -> str:
    return f"""<ir_version: 8, opset_import: ["": 17]>
    g (float[2,3] x) => (float[2,3] y) <{initializers}> {{ {body} y = Neg(x) }}"""


def first_node(tmp_path: Path, initializers: str, body: str) -> onnx_ir.Node:
    return next(iter(model(tmp_path / "m.onnx", head(initializers, body)).ir.graph))


@pytest.mark.parametrize(
    ("initializers", "body", "expected"),
    [
        ("float[2] a = {1, 2}", "c = Add(a, a)", [2, 4]),
        ("int64[2] i = {4, 5}", "c = Cast <to = 1> (i)", [4, 5]),
        ("int64 s = {3}", "c = Shape(x)", [2, 3]),
        ("int64 s = {3}", "c = Shape <start = -1> (x)", [3]),
        ("int64 s = {3}", "c = Size(x)", 6),
        ("float[2] a = {1, 2}, int64[1] i = {1}", "c = Gather(a, i)", [2]),
        ("int64 a = {1}, int64 b = {7}, int64 d = {2}", "c = Range(a, b, d)", [1, 3, 5]),
    ],
)
def test_a_constant_node_is_computed(tmp_path: Path, initializers: str, body: str, expected: object) -> None:
    node = first_node(tmp_path, initializers, body)
    assert foldable(node) is None
    (result,) = evaluate(node) or []
    assert result.tolist() == expected
    assert result.dtype == node.outputs[0].dtype.numpy()


@pytest.mark.parametrize(
    ("initializers", "body", "reason"),
    [
        ("int64[2] s = {30000, 30000}", "c = ConstantOfShape(s)", "too many"),
        ("float one = {1}, int64[3] s = {3000, 300, 30}", "c = Expand(one, s)", "too many"),
        ("int64 a = {0}, int64 b = {1000000}, int64 d = {1}", "c = Range(a, b, d)", "too many"),
        ("int64[1] s = {3}", "c = RandomNormal <shape = [2]> ()", "random"),
        ("float s = {3}", "c = Add(x, s)", "run time"),
    ],
)
def test_what_must_not_be_folded_says_why(tmp_path: Path, initializers: str, body: str, reason: str) -> None:
    assert reason in (foldable(first_node(tmp_path, initializers, body)) or "")


@pytest.mark.parametrize(("elements", "stays"), [(400, False), (200_000, True)])
def test_a_large_float16_weight_stays_small(tmp_path: Path, elements: int, stays: bool) -> None:
    values = ", ".join(["1"] * elements)
    node = first_node(tmp_path, f"float16[{elements}] w = {{{values}}}", "c = Cast <to = 1> (w)")
    assert ("too many to store" in (foldable(node) or "")) == stays


def test_new_constants_get_free_names(tmp_path: Path) -> None:
    graph = model(tmp_path / "m.onnx", head("float a = {2}", "b = Add(a, a)")).ir.graph
    names = [add_initializer(graph, name, np.zeros(1)).name for name in ("a", "a", "b", "x", "new")]
    assert names == ["a_2", "a_3", "b_2", "x_2", "new"]


def test_constants_are_read_and_computed_values_are_not(tmp_path: Path) -> None:
    graph = model(tmp_path / "m.onnx", head("float a = {2}, float[2] b = {1, 2}", "c = Add(a, b)")).ir.graph
    values = {**graph.initializers, "c": graph[0].outputs[0], "x": graph.inputs[0], "none": None}
    assert {name: scalar_of(value) for name, value in values.items()} == {
        "a": 2.0, "b": None, "c": None, "x": None, "none": None,
    }  # fmt: skip
    assert {name for name, value in values.items() if array_of(value) is not None} == {"a", "b"}
