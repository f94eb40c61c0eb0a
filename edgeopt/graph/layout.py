"""Operators that work in any order of axes, and what they have to be told when that order changes."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import onnx_ir

from edgeopt.graph.constants import add_initializer, array_of
from edgeopt.graph.editing import input_at, ints_of, opset_of

UNARY = frozenset({
    "Relu", "Sigmoid", "Tanh", "LeakyRelu", "Elu", "Selu", "Celu", "Softplus", "Softsign", "HardSigmoid",
    "HardSwish", "Gelu", "Mish", "ThresholdedRelu", "Clip", "Neg", "Abs", "Exp", "Log", "Sqrt", "Reciprocal",
    "Erf", "Floor", "Ceil", "Round", "Sign", "Sin", "Cos", "Not", "Cast", "Identity",
})  # fmt: skip
"""Elementwise functions of their first input; others, such as the bounds of Clip, are scalars."""

BROADCASTING = frozenset({
    "Add", "Sub", "Mul", "Div", "Pow", "Min", "Max", "Mean", "Sum", "Where", "PRelu", "Equal", "Greater",
    "Less", "GreaterOrEqual", "LessOrEqual", "And", "Or", "Xor",
})  # fmt: skip
"""Elementwise functions of all their inputs."""

REDUCTIONS = frozenset({
    "ReduceMean", "ReduceSum", "ReduceMax", "ReduceMin", "ReduceProd", "ReduceL1", "ReduceL2",
    "ReduceSumSquare",
})  # fmt: skip
_ALONG_AN_AXIS = frozenset({"Concat", "Split", "Softmax", "LogSoftmax"})
_LOCAL_SOFTMAX = 13
"""From this opset on Softmax is of one axis; before, of all behind it."""


def is_free(node: onnx_ir.Node, rank: int) -> bool:
    """Whether a node can be computed with its axes in another order, all operands of `rank` axes."""
    if node.domain or any(output.shape is None or len(output.shape) != rank for output in node.outputs):
        return False
    if node.op_type in BROADCASTING:
        return opset_of(node) >= 8 and all(_fits(value, rank) for value in node.inputs)
    if not _has_rank(node.inputs[0], rank):
        return False
    if node.op_type in REDUCTIONS:
        known = input_at(node, 1) is None or array_of(input_at(node, 1)) is not None
        return bool(node.attributes.get_int("keepdims", 1)) and known
    if node.op_type in ("Softmax", "LogSoftmax"):
        return opset_of(node) >= _LOCAL_SOFTMAX
    if node.op_type == "Concat":
        return all(_has_rank(value, rank) for value in node.inputs)
    return node.op_type in UNARY or node.op_type == "Split"


def operands(node: onnx_ir.Node) -> list[int]:
    """Positions of the inputs that hold values in the order of axes: not bounds, sizes and axes."""
    if node.op_type in BROADCASTING or node.op_type == "Concat":
        return list(range(len(node.inputs)))
    return [0]


def reorder(graph: onnx_ir.Graph, node: onnx_ir.Node, order: Sequence[int]) -> None:
    """Tell a node that axis `i` of its operands is now what axis `order[i]` was; in place."""
    moved = {axis: position for position, axis in enumerate(order)}
    rank = len(order)
    if node.op_type in _ALONG_AN_AXIS:
        default = 0 if node.op_type == "Split" else -1
        axis = node.attributes.get_int("axis", default) % rank
        node.attributes["axis"] = onnx_ir.AttrInt64("axis", moved[axis])
    elif node.op_type in REDUCTIONS and (axes := ints_of(node, "axes", 1)) is not None:
        after = sorted(moved[axis % rank] for axis in axes)
        if "axes" in node.attributes:
            node.attributes["axes"] = onnx_ir.AttrInt64s("axes", after)
        else:
            name = f"{node.outputs[0].name}_axes"
            node.replace_input_with(1, add_initializer(graph, name, np.asarray(after, np.int64)))


def _has_rank(value: onnx_ir.Value | None, rank: int) -> bool:
    return value is not None and value.shape is not None and len(value.shape) == rank


def _fits(value: onnx_ir.Value | None, rank: int) -> bool:
    """Whether an operand is a constant of at most that rank, or computed with exactly it."""
    array = array_of(value)
    return array.ndim <= rank if array is not None else _has_rank(value, rank)
