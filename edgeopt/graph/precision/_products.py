"""Matrix products with weights in blocks: `com.microsoft.MatMulNBits`.

Activations are quantized to int8 block by block inside the kernel (`accuracy_level` 4), which is what makes
it faster than float32; the level is a hint, and where the processor lacks the instructions (ARM without dot
products) the runtime widens the weights and multiplies in float32.

Source: ONNX Runtime ContribOperators, MatMulNBits: 4 bits from 1.20 on, 8 bits from 1.22 on.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import onnx_ir as ir

from edgeopt.graph.precision import _blocks as blocks
from edgeopt.graph.precision._weights import constant, operand
from edgeopt.graph.regions import region_of

if TYPE_CHECKING:
    from edgeopt.graph.precision._edit import Edit

ACCURACY_LEVEL = 4
LEAST_VALUES = 512
"""Of a weight: below, the node takes more bytes than it saves."""


def is_product(node: ir.Node) -> bool:
    """MatMul or Gemm of a computed float32 tensor with a constant matrix."""
    if node.domain or node.op_type not in ("MatMul", "Gemm") or len(node.inputs) < 2:
        return False
    data, weight = node.inputs[0], constant(node.inputs[1])
    if data is None or constant(data) is not None or data.dtype not in (ir.DataType.FLOAT, None):
        return False
    if node.op_type == "Gemm" and node.attributes.get_int("transA", 0) != 0:
        return False
    return (
        weight is not None
        and weight.dtype == ir.DataType.FLOAT
        and len(weight.shape) == 2
        and weight.size >= LEAST_VALUES
    )


def quantize_product(node: ir.Node, edit: Edit, bits: int) -> bool:
    """Replace `node`, and add Gemm's bias behind it; False if its weight is not finite."""
    data, weight = operand(node, 0), operand(node, 1)
    floats = edit.weights.floats(weight)
    if floats is None:
        return False
    is_gemm = node.op_type == "Gemm"
    transposed = is_gemm and node.attributes.get_int("transB", 0) == 1
    alpha = node.attributes.get_float("alpha", 1.0) if is_gemm else 1.0
    rows = floats if transposed else floats.T
    form = f"blocks {bits} {transposed}"
    levels, scale = edit.weights.made(weight, form, lambda: blocks.quantize_rows(rows, bits))
    stored = edit.shared(
        weight, form, lambda: edit.initializer(f"{weight.name}__int{bits}", blocks.packed(levels, bits))
    )
    scales = edit.shared(
        weight,
        f"{form} {alpha}",
        lambda: edit.initializer(f"{weight.name}__scale", (scale * np.float32(alpha)).reshape(-1)),
    )
    attributes = {
        "K": rows.shape[1], "N": rows.shape[0], "bits": bits, "block_size": blocks.BLOCK,
        "accuracy_level": ACCURACY_LEVEL,
    }  # fmt: skip
    product = edit.make(
        "MatMulNBits", [data, stored, scales], region=region_of(node), name=str(node.name),
        attributes=attributes, domain="com.microsoft",
    )  # fmt: skip
    bias = node.inputs[2] if is_gemm and len(node.inputs) > 2 else None
    if bias is None:
        edit.replace(node, product, node.outputs[0])
        return True
    edit.graph.insert_before(node, product)
    beta = node.attributes.get_float("beta", 1.0)
    if beta != 1.0:
        factor = edit.initializer(f"{node.name}__beta", np.array(beta, np.float32))
        bias = edit.before(node, "Mul", [bias, factor], name=f"{node.name}_beta")
    added = edit.make("Add", [product.outputs[0], bias], region=region_of(node), name=f"{node.name}_biased")
    edit.replace(node, added, node.outputs[0])
    return True
