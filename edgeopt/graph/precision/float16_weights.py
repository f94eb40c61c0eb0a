"""float16 storage: weights are kept in half precision and widened when the model is loaded.

Maths: W' = float32(float16(W)), a relative rounding error of at most 2^-11 per weight. Activations and
arithmetic stay float32; ONNX Runtime folds the Cast away at load, so speed and memory at run time are those
of float32 and only the file is half as large.

Applies to every node that reads a float32 initializer of at least 64 values.

Does not apply to (they stay float32): weights with a value beyond 65504, constants that the operator reads
as parameters rather than as data (scales of Resize), and what bodies of If, Loop and Scan read.

Source: IEEE 754 binary16; ONNX Cast-6.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import onnx_ir as ir
from numpy.typing import NDArray

from edgeopt.graph.precision._examples import CONV_OPSET_11, LSTM, MLP
from edgeopt.graph.precision._weights import constant

if TYPE_CHECKING:
    from edgeopt.graph.precision._edit import Edit

STATIC = False
LOSSY = True
WEIGHT_BITS = 16
MAX_ERROR = 0.002

LEAST_VALUES = 64
"""Below, the Cast node takes more bytes than the weight saves."""

EXAMPLES = (CONV_OPSET_11, LSTM, MLP)


def applies(node: ir.Node) -> bool:
    """See `Scheme.applies`."""
    return any(_is_weight(value) for value in node.inputs) and node.op_type not in ("Resize", "Upsample")


def apply(node: ir.Node, edit: Edit) -> bool:
    """See `Scheme.apply`."""
    if not applies(node):
        return False
    weights = [(i, value) for i, value in enumerate(node.inputs) if value is not None and _is_weight(value)]
    changed = False
    for index, value in weights:
        half = edit.weights.float16(value)
        if half is None:
            continue

        def widened(value: ir.Value = value, half: NDArray[np.float16] = half) -> ir.Value:
            stored = edit.initializer(f"{value.name}__float16", half)
            to = {"to": int(ir.DataType.FLOAT)}
            made = edit.before(node, "Cast", [stored], name=f"{value.name}__widened", attributes=to)
            made.type, made.shape = value.type, value.shape
            return made

        node.replace_input_with(index, edit.shared(value, "float16", widened))
        changed = True
    return changed


def _is_weight(value: ir.Value | None) -> bool:
    tensor = constant(value)
    return tensor is not None and tensor.dtype == ir.DataType.FLOAT and tensor.size >= LEAST_VALUES
