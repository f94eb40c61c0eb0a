"""Weight-only int4 in blocks of 32: matrix products and embeddings at an eighth of the size; no calibration.

Maths: for each block of 32 weights along the inputs of a column (of a row of a table), s = the value v of
largest magnitude / -8, or a share of it that rounds the block with less squared error, W_q = clip(round(W /
s) + 8, 0, 15), W' = s (W_q - 8). Activations stay float32 in the graph; the kernel rounds them to int8 by
blocks.

Before / after
    MatMul, Gemm    -> com.microsoft.MatMulNBits (4 bits), and an Add for Gemm's bias
    Gather (table)  -> com.microsoft.GatherBlockQuantized

Does not apply to (they stay in float32): weights of fewer than 512 values, computed or not finite, of
another rank than 2; Gemm with transA; Conv, LSTM, GRU (no kernel: `int8_weights` takes them); Gather along
another axis than the first.

Source: ONNX Runtime ContribOperators, MatMulNBits and GatherBlockQuantized (1.20 and newer). 4-bit levels
with a scale per block: Frantar et al. 2022 (arXiv:2210.17323), section 4."""

from __future__ import annotations

from typing import TYPE_CHECKING

import ml_dtypes
import numpy as np

from edgeopt.graph.precision import _blocks as blocks
from edgeopt.graph.precision._examples import EMBEDDING, MLP, SHARED_INPUT
from edgeopt.graph.precision._products import is_product, quantize_product
from edgeopt.graph.precision._tables import is_table
from edgeopt.graph.precision._weights import operand
from edgeopt.graph.regions import region_of

if TYPE_CHECKING:
    import onnx_ir as ir

    from edgeopt.graph.precision._edit import Edit

STATIC = False
LOSSY = True
WEIGHT_BITS = 5
"""4, and the scale of each block."""
MAX_ERROR = 0.2

EXAMPLES = (MLP, SHARED_INPUT, EMBEDDING)


def applies(node: ir.Node) -> bool:
    """See `Scheme.applies`."""
    return is_product(node) or is_table(node)


def apply(node: ir.Node, edit: Edit) -> bool:
    """See `Scheme.apply`."""
    if is_product(node):
        return quantize_product(node, edit, 4)
    return is_table(node) and _gather(node, edit)


def _gather(node: ir.Node, edit: Edit) -> bool:
    table, indices = operand(node, 0), operand(node, 1)
    rows = edit.weights.floats(table)
    if rows is None:
        return False
    levels, scale = edit.weights.made(table, "blocks 4 rows", lambda: blocks.quantize_rows(rows, 4))
    width = rows.shape[1]

    def stored() -> ir.Value:
        signed = levels.reshape(len(rows), -1)[:, :width].astype(np.int8) - 8
        return edit.initializer(f"{table.name}__int4", signed.astype(ml_dtypes.int4))

    inputs = [
        edit.shared(table, "int4 rows", stored),
        indices,
        edit.shared(table, "int4 rows scale", lambda: edit.initializer(f"{table.name}__scale", scale)),
    ]
    attributes = {"block_size": blocks.BLOCK, "gather_axis": 0, "quantize_axis": 1}
    fused = edit.make(
        "GatherBlockQuantized", inputs, region=region_of(node), name=str(node.name),
        attributes=attributes, domain="com.microsoft",
    )  # fmt: skip
    edit.replace(node, fused, node.outputs[0])
    return True
