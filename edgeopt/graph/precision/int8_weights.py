"""Weight-only int8: every weight at a quarter of the size, the recurrent ones too; no calibration.

Maths: s_w[c] = max|W[c]| / 127 for each output channel c (each row of a table), W_q = round(W / s_w), W' =
s_w W_q; matrix products have one scale for each block of 32 inputs of a column instead. Activations stay
float32 in the graph.

Before / after
    MatMul, Gemm         -> com.microsoft.MatMulNBits (8 bits), and an Add for Gemm's bias; for runtimes
                            older than 1.23 DequantizeLinear before the weight
    Conv, ConvTranspose  -> DequantizeLinear before the weight
    LSTM, GRU, RNN       -> DequantizeLinear before each weight: there is no int8 kernel of GRU
    Gather (table)       -> Gather of int8 rows and of their scales, Cast, Mul

ONNX Runtime (1.20 to 1.28) does not fold these DequantizeLinear at load: file and resident weights stay
int8, and the weight is widened at each inference, which costs time in Conv and recurrences.

Does not apply to (they stay in float32): weights of fewer than 512 values, computed or not finite; Gemm
with transA; weights that need DequantizeLinear below opset 13; nodes inside the bodies of If, Loop and
Scan.

Source: ONNX DequantizeLinear-13; ONNX Runtime ContribOperators, MatMulNBits (8 bits: 1.22 and newer).
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import onnx_ir as ir

from edgeopt.graph.precision._examples import CNN, EMBEDDING, GRU, LSTM, MLP
from edgeopt.graph.precision._products import is_product, quantize_product
from edgeopt.graph.precision._tables import is_table
from edgeopt.graph.precision._weights import constant, operand
from edgeopt.graph.regions import region_of

if TYPE_CHECKING:
    from edgeopt.graph.precision._edit import Edit

STATIC = False
LOSSY = True
WEIGHT_BITS = 9
"""8, and the scale of each block."""
MAX_ERROR = 0.03

MIN_OPSET = 13
BLOCKS_OPSET = 23
"""Of runtimes that surely have MatMulNBits in 8 bits (1.22 has it, but cannot be told from 1.21)."""
LEAST_VALUES = 512
_WIDENED = {"Conv": (1,), "ConvTranspose": (1,), "LSTM": (1, 2), "GRU": (1, 2), "RNN": (1, 2)}
"""Inputs whose weight is widened by DequantizeLinear."""

EXAMPLES = (CNN, MLP, EMBEDDING, LSTM, GRU)


def applies(node: ir.Node) -> bool:
    """See `Scheme.applies`."""
    return is_product(node) or is_table(node) or bool(_widened(node))


def apply(node: ir.Node, edit: Edit) -> bool:
    """See `Scheme.apply`."""
    if is_product(node):
        return quantize_product(node, edit, 8) if edit.newest_opset >= BLOCKS_OPSET else _widen(node, 1, edit)
    if is_table(node):
        return _gather(node, edit)
    changed = [_widen(node, index, edit) for index in _widened(node)]
    return any(changed)


def _widened(node: ir.Node) -> tuple[int, ...]:
    """The inputs of `node` that are weights to be stored in int8."""
    opset = node.graph.opset_imports.get("", 1) if node.graph is not None else 0
    if node.domain or opset < MIN_OPSET:
        return ()
    tensors = [(i, constant(v)) for i, v in enumerate(node.inputs) if i in _WIDENED.get(node.op_type, ())]
    return tuple(
        i
        for i, tensor in tensors
        if tensor is not None and tensor.dtype == ir.DataType.FLOAT and tensor.size >= LEAST_VALUES
    )


def _widen(node: ir.Node, index: int, edit: Edit) -> bool:
    weight = operand(node, index)
    if edit.graph.opset_imports.get("", 1) < MIN_OPSET or edit.weights.floats(weight) is None:
        return False
    axis = _channel_axis(node)
    made = edit.weights.int8(weight, axis)

    def widened() -> ir.Value:
        inputs = [
            edit.initializer(f"{weight.name}__int8", made.values),
            edit.initializer(f"{weight.name}__scale", made.scale),
            edit.initializer(f"{weight.name}__zero", np.zeros(made.scale.shape, np.int8)),
        ]
        attributes = {} if axis is None else {"axis": axis}
        value = edit.before(node, "DequantizeLinear", inputs, name=f"dq_{weight.name}", attributes=attributes)
        value.type, value.shape = weight.type, weight.shape
        return value

    node.replace_input_with(index, edit.shared(weight, f"widened {axis}", widened))
    return True


def _channel_axis(node: ir.Node) -> int | None:
    """Recurrent weights are (directions, gates * hidden, inputs); grouped ConvTranspose mixes its
    channels."""
    if node.op_type == "Conv":
        return 0
    if node.op_type == "ConvTranspose" and node.attributes.get_int("group", 1) != 1:
        return None
    return 0 if node.op_type == "Gemm" and node.attributes.get_int("transB", 0) == 1 else 1


def _gather(node: ir.Node, edit: Edit) -> bool:
    table, indices = operand(node, 0), operand(node, 1)
    if edit.weights.floats(table) is None:
        return False
    made, name = edit.weights.int8(table, 0), str(node.name)
    stored = edit.shared(table, "int8 rows", lambda: edit.initializer(f"{table.name}__int8", made.values))
    scales = edit.shared(
        table,
        "int8 rows scale",
        lambda: edit.initializer(f"{table.name}__scale", made.scale.reshape(-1, 1)),
    )
    integers = edit.before(node, "Gather", [stored, indices], name=f"{name}_int8")
    scale = edit.before(node, "Gather", [scales, indices], name=f"{name}_scale")
    floats = edit.before(
        node, "Cast", [integers], name=f"{name}_float", attributes={"to": int(ir.DataType.FLOAT)}
    )
    scaled = edit.make("Mul", [floats, scale], region=region_of(node), name=f"{name}_scaled")
    edit.replace(node, scaled, node.outputs[0])
    return True
