"""Counts the arithmetic of a node from its shapes: 2 operations per multiply-add, 1 per other element."""

from __future__ import annotations

import math
from collections.abc import Callable

import onnx_ir

from edgeopt.graph.reading import has_subgraph

_FREE = frozenset({
    "Constant", "Identity", "Reshape", "Flatten", "Squeeze", "Unsqueeze", "Transpose", "Shape", "Size",
    "Slice", "Gather", "GatherElements", "GatherND", "Concat", "Split", "Expand", "Tile", "Pad", "Cast",
    "DepthToSpace", "SpaceToDepth", "ConstantOfShape", "Dropout", "Where", "ScatterND", "ScatterElements",
})  # fmt: skip
"""Operators that move data and compute nothing."""

_PER_ELEMENT = {
    "BatchNormalization": 2, "Softmax": 4, "LogSoftmax": 4, "LayerNormalization": 7, "HardSigmoid": 3,
    "HardSwish": 4, "InstanceNormalization": 7, "GroupNormalization": 7, "Gelu": 5, "FastGelu": 7,
    "QuantizeLinear": 3, "DequantizeLinear": 2, "Sigmoid": 4, "Tanh": 5, "Softplus": 3, "Elu": 3, "Celu": 5,
    "Mish": 9, "QuickGelu": 6,
}  # fmt: skip
"""Operations per element of the first output, where it is not 1; an exponential or a logarithm is one."""


def node_flops(node: onnx_ir.Node) -> int | None:
    """Operations of one run of a node; None where a shape that matters is unknown, or it holds a graph."""
    if node.op_type in _FREE:
        return 0
    if counter := _COUNTERS.get(node.op_type):
        return counter(node)
    if has_subgraph(node):
        return None
    if node.op_type.startswith(("Reduce", "ArgM")):
        return elements(_input(node, 0))
    written = elements(node.outputs[0])
    return None if written is None else written * _PER_ELEMENT.get(node.op_type, 1)


def sizes(value: onnx_ir.Value | None) -> tuple[int, ...] | None:
    """The static shape of a value, or None."""
    if value is None or value.shape is None or not value.shape.is_static():
        return None
    return value.shape.numpy()


def elements(value: onnx_ir.Value | None) -> int | None:
    """Number of elements of a value, or None where its shape is unknown."""
    shape = sizes(value)
    return None if shape is None else math.prod(shape)


def nbytes(value: onnx_ir.Value | None) -> int | None:
    """Size of a value's content, or None where shape or type are unknown."""
    count = elements(value)
    if count is None or value is None or value.dtype is None or value.dtype == onnx_ir.DataType.STRING:
        return None
    return math.ceil(count * value.dtype.itemsize)


def _input(node: onnx_ir.Node, index: int) -> onnx_ir.Value | None:
    return node.inputs[index] if index < len(node.inputs) else None


def _convolution(weight_index: int) -> Callable[[onnx_ir.Node], int | None]:
    def count(node: onnx_ir.Node) -> int | None:
        weight, written = sizes(_input(node, weight_index)), elements(node.outputs[0])
        if weight is None or written is None:
            return None
        return 2 * written * math.prod(weight[1:])  # (M, C/group, *kernel)

    return count


def _transposed_convolution(node: onnx_ir.Node) -> int | None:
    weight, read = sizes(_input(node, 1)), elements(_input(node, 0))
    return (
        None if weight is None or read is None else 2 * read * math.prod(weight[1:])
    )  # (C, M/group, *kernel)


def _product(first: int, second: int) -> Callable[[onnx_ir.Node], int | None]:
    def count(node: onnx_ir.Node) -> int | None:
        left, right, written = (
            sizes(_input(node, first)),
            sizes(_input(node, second)),
            elements(node.outputs[0]),
        )
        if not left or not right or written is None:
            return None
        inner = left[-2] if node.attributes.get_int("transA", False) and len(left) > 1 else left[-1]
        return 2 * written * inner

    return count


def _recurrent(node: onnx_ir.Node) -> int | None:
    """Every weight is used once per step and sample, whichever way round an operator stores them."""
    x, weight, recurrence = sizes(_input(node, 0)), elements(_input(node, 1)), elements(_input(node, 2))
    if x is None or weight is None or recurrence is None or len(x) != 3:
        return None
    return 2 * x[0] * x[1] * (weight + recurrence)


def _pool(node: onnx_ir.Node) -> int | None:
    written = elements(node.outputs[0])
    return None if written is None else written * math.prod(node.attributes["kernel_shape"].as_ints())


def _global_pool(node: onnx_ir.Node) -> int | None:
    return elements(_input(node, 0))


def _einsum(node: onnx_ir.Node) -> int | None:
    shapes = [sizes(value) for value in node.inputs]
    equation = node.attributes.get_string("equation", "") or ""
    terms = equation.replace(" ", "").partition("->")[0].split(",")
    if None in shapes or "." in equation or len(terms) != len(shapes):
        return None
    extents = {
        axis: size
        for term, shape in zip(terms, shapes, strict=True)
        for axis, size in zip(term, shape or (), strict=False)
    }
    return 2 * math.prod(extents.values())


_COUNTERS: dict[str, Callable[[onnx_ir.Node], int | None]] = {
    "Conv": _convolution(1),
    "FusedConv": _convolution(1),
    "ConvInteger": _convolution(1),
    "QLinearConv": _convolution(3),
    "ConvTranspose": _transposed_convolution,
    "MatMul": _product(0, 1),
    "FusedMatMul": _product(0, 1),
    "Gemm": _product(0, 1),
    "MatMulInteger": _product(0, 1),
    "QLinearMatMul": _product(0, 3),
    "QGemm": _product(0, 3),
    "LSTM": _recurrent,
    "DynamicQuantizeLSTM": _recurrent,
    "GRU": _recurrent,
    "RNN": _recurrent,
    "MaxPool": _pool,
    "AveragePool": _pool,
    "GlobalAveragePool": _global_pool,
    "GlobalMaxPool": _global_pool,
    "Einsum": _einsum,
}
