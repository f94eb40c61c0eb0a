"""Dynamic int8 of LSTM: `com.microsoft.DynamicQuantizeLSTM`.

Source: ONNX LSTM-7 and -14; ONNX Runtime ContribOperators, DynamicQuantizeLSTM: weights are transposed to
(directions, inputs, 4 * hidden) and (directions, hidden, 4 * hidden), with a scale per direction and column.
"""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING

import numpy as np
import onnx_ir as ir

from edgeopt.graph.precision._weights import constant
from edgeopt.graph.regions import region_of

if TYPE_CHECKING:
    from edgeopt.graph.precision._edit import Edit

_PEEPHOLES = 7
_CARRIED = (
    "activation_alpha",
    "activation_beta",
    "activations",
    "clip",
    "direction",
    "hidden_size",
    "input_forget",
)


def is_quantizable(node: ir.Node) -> bool:
    """Constant float32 weights, time-first layout, no peepholes."""
    if node.domain or len(node.inputs) < 3 or node.attributes.get_int("layout", 0) != 0:
        return False
    if len(node.inputs) > _PEEPHOLES and node.inputs[_PEEPHOLES] is not None:
        return False
    tensors = [constant(value) for value in node.inputs[1:3]]
    return all(t is not None and t.dtype == ir.DataType.FLOAT and len(t.shape) == 3 for t in tensors)


def quantize_lstm(node: ir.Node, edit: Edit) -> bool:
    """Replace `node`; False (and nothing changed) if its weights are not finite."""
    weights = [value for value in node.inputs[1:3] if value is not None]
    if any(edit.weights.floats(value) is None for value in weights):
        return False
    # One weight may be that of many nodes: of a decoder that is written out step by step.
    made = [edit.shared(value, "lstm", partial(_int8, value, edit)) for value in weights]
    values = [levels for levels, _, _ in made]
    parameters = [parameter for _, *both in made for parameter in both]
    others = [*node.inputs[3:_PEEPHOLES], None, None, None, None, None][: _PEEPHOLES - 3]
    fused = edit.make(
        "DynamicQuantizeLSTM",
        [node.inputs[0], *values, *others, None, *parameters],
        region=region_of(node),
        name=str(node.name),
        attributes={name: node.attributes[name] for name in _CARRIED if name in node.attributes},
        outputs=len(node.outputs),
        domain="com.microsoft",
    )
    edit.graph.insert_after(node, fused)
    for old, new in zip(node.outputs, fused.outputs, strict=True):
        edit.take_over(old, new)
    edit.graph.remove(node, safe=True)
    return True


def _int8(value: ir.Value, edit: Edit) -> tuple[ir.Value, ir.Value, ir.Value]:
    """(D, inputs, 4H) int8, and of each of the (D, 4H) columns the scale and the zero point."""
    floats, name = edit.weights.floats(value), str(value.name)
    assert floats is not None  # noqa: S101 - the caller has looked
    scale = np.maximum(np.abs(floats).max(axis=2), np.finfo(np.float32).tiny) / np.float32(edit.most)
    levels = np.rint(floats / scale[:, :, None]).astype(np.int8).transpose(0, 2, 1)
    return (
        edit.initializer(f"{name}__int8", np.ascontiguousarray(levels)),
        edit.initializer(f"{name}__scale", scale),
        edit.initializer(f"{name}__zero", np.zeros(scale.shape, np.int8)),
    )
