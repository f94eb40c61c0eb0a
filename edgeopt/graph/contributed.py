"""Shapes the outputs of com.microsoft's operators, which onnx cannot infer.

Source: onnxruntime docs/ContribOperators.md.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import onnx_ir

from edgeopt.graph.flops import sizes

DOMAIN = "com.microsoft"

SAME_AS_FIRST = frozenset({
    "Gelu", "FastGelu", "QuickGelu", "BiasGelu", "BiasSplitGelu", "SkipLayerNormalization",
    "SimplifiedLayerNormalization", "SkipSimplifiedLayerNormalization", "QLinearSigmoid",
    "QLinearLeakyRelu", "QLinearSoftmax", "ParametricSoftplus", "ScaledTanh", "ThresholdedRelu",
    "RotaryEmbedding",
})  # fmt: skip
"""Operators whose first output is shaped as their first input."""


def infer_contributed(model: onnx_ir.Model) -> None:
    """Write the shapes and types of outputs that are not known yet, where those of the inputs are."""
    for node in model.graph:
        first = node.inputs[0] if node.inputs else None
        if node.domain != DOMAIN or first is None:
            continue
        if node.op_type in SAME_AS_FIRST:
            if node.outputs[0].shape is None:
                node.outputs[0].shape, node.outputs[0].type = first.shape, first.type
        elif shape := _SHAPES.get(node.op_type):
            _write(node, shape(node))


def _write(node: onnx_ir.Node, shapes: tuple[tuple[int, ...], ...]) -> None:
    first = node.inputs[0]
    is_float = first is not None and first.dtype is not None and first.dtype.is_floating_point()
    for output, shape in zip(node.outputs, shapes, strict=False):
        if sizes(output) is None:
            output.shape = onnx_ir.Shape(shape)
        if output.type is None:
            # What reads integers here answers in float32: its other types are for other processors.
            dtype = first.dtype if first is not None and is_float else None
            output.type = onnx_ir.TensorType(dtype or onnx_ir.DataType.FLOAT)


def _product(node: onnx_ir.Node) -> tuple[tuple[int, ...], ...]:
    """That of numpy.matmul, for two operands of at least two axes."""
    left, right = (sizes(value) for value in node.inputs[:2])
    batches = any(node.attributes.get_int(f"transBatch{side}", 0) for side in "AB")
    if left is None or right is None or min(len(left), len(right)) < 2 or batches:
        return ()
    rows = left[-1] if node.attributes.get_int("transA", 0) else left[-2]
    columns = right[-2] if node.attributes.get_int("transB", 0) else right[-1]
    try:
        outer = np.broadcast_shapes(left[:-2], right[:-2])
    except ValueError:  # a graph that contradicts itself: the runtime refuses it, and says why
        return ()
    return ((*outer, rows, columns),)


def _lstm(node: onnx_ir.Node) -> tuple[tuple[int, ...], ...]:
    """X is `(sequence, batch, input)`, R `(directions, hidden, 4 * hidden)`."""
    x, recurrence = sizes(node.inputs[0]), sizes(node.inputs[2])
    if not x or not recurrence:
        return ()
    state = (recurrence[0], x[1], recurrence[1])
    return ((x[0], recurrence[0], x[1], recurrence[1]), state, state)


def _attention(node: onnx_ir.Node) -> tuple[tuple[int, ...], ...]:
    """Query is `(batch, tokens, hidden)`, value `(batch, tokens, hidden)`; other forms are packed."""
    query = sizes(node.inputs[0])
    value = sizes(node.inputs[2]) if len(node.inputs) > 2 else None
    if query is None or value is None or len(query) != 3 or len(value) != 3:
        return ()
    return ((*query[:2], value[2]),)


def _product_of_blocks(node: onnx_ir.Node) -> tuple[tuple[int, ...], ...]:
    """The weight is `(N, blocks, bytes of a block)`: N is an attribute."""
    left = sizes(node.inputs[0])
    columns = node.attributes.get_int("N", 0)
    return ((*left[:-1], columns),) if left and columns else ()


def _rows_of_blocks(node: onnx_ir.Node) -> tuple[tuple[int, ...], ...]:
    """Rows of a table `(rows, width)`; other axes are not made here."""
    table, indices = (sizes(value) for value in node.inputs[:2])
    is_table = table is not None and len(table) == 2 and node.attributes.get_int("gather_axis", 0) == 0
    return ((*indices, table[1]),) if is_table and table is not None and indices is not None else ()


_SHAPES: dict[str, Callable[[onnx_ir.Node], tuple[tuple[int, ...], ...]]] = {
    "DynamicQuantizeLSTM": _lstm,
    "DynamicQuantizeMatMul": _product,
    "FusedGemm": _product,
    "FusedMatMul": _product,
    "GatherBlockQuantized": _rows_of_blocks,
    "MatMulIntegerToFloat": _product,
    "MatMulNBits": _product_of_blocks,
    "MultiHeadAttention": _attention,
}
"""The shapes of an operator's outputs; empty while those of its inputs are not known."""
