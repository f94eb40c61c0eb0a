"""Do not ask an operator for optional outputs that nothing reads.

    y, h, c = LSTM(x)     with h and c unread     LSTM writes y only

Before:
    Y, Y_h, Y_c = LSTM(x, W, R); Y, Indices = MaxPool(x); Y, Mask = Dropout(x); ...
After:
    Y = LSTM(x, W, R)

Weights: as they were.

Does not apply when:
    - every output is read, or is an output of the model.

Source: ONNX LSTM-14, GRU-14, RNN-14, MaxPool-12, Dropout-13, LayerNormalization-17: their optional outputs.
"""

from __future__ import annotations

from collections.abc import Sequence

import onnx_ir

from edgeopt.graph.matching import Found, Refusal
from edgeopt.graph.rewrites import Example

ORDER = 80
EXACT = True
RTOL = 0.0

_FIRST_OPTIONAL = {"LSTM": 0, "GRU": 0, "RNN": 0, "MaxPool": 1, "Dropout": 1, "LayerNormalization": 1}
"""Operator to the first output that may be absent."""


class DropDeadOutputs:
    """An operator with optional outputs."""

    def find(self, model: onnx_ir.Model, node: onnx_ir.Node) -> Found | Refusal | None:  # noqa: ARG002
        """See `edgeopt.graph.rewrites.Rule`."""
        if node.domain or (first := _FIRST_OPTIONAL.get(node.op_type)) is None:
            return None
        present = [value for value in node.outputs if value.name]
        if not any(_is_read(value) for value in present):
            return None  # the whole node is dead
        dead = [value for value in node.outputs[first:] if value.name and not _is_read(value)]
        if not dead:
            return Refusal("every output that it has is read") if len(present) > 1 else None
        return Found((node,), lambda: _drop(node, dead))


def _is_read(value: onnx_ir.Value) -> bool:
    return bool(value.uses()) or value.is_graph_output()


def _drop(node: onnx_ir.Node, dead: Sequence[onnx_ir.Value]) -> Sequence[onnx_ir.Node]:
    for value in dead:
        value.name = ""  # how ONNX writes an absent output
    kept = max(index for index, value in enumerate(node.outputs) if value.name)
    node.resize_outputs(kept + 1)
    return [node]


RULES = (DropDeadOutputs(),)


def _example(outputs: str, result: str, becomes: tuple[str, ...] | None, reason: str = "") -> Example:
    return Example(
        f"""<ir_version: 8, opset_import: ["": 17]> agraph (float[3,1,2] x) => ({result})
        <float[1,8,2] w = {{1, 2, 3, 4, 5, 6, 7, 8, 1, 0, 1, 0, 1, 0, 1, 0}},
         float[1,8,2] r = {{1, 0, 1, 0, 1, 0, 1, 0, 0, 1, 0, 1, 0, 1, 0, 1}}>
        {{ {outputs} = LSTM <hidden_size = 2> (x, w, r) }}""",
        becomes,
        reason,
    )


EXAMPLES = (
    _example("y, h, c", "float[3,1,1,2] y", ("LSTM",)),
    _example("y, h, c", "float[1,1,2] h", ("LSTM",)),
    _example("y, h", "float[3,1,1,2] y, float[1,1,2] h", None, "is read"),
    _example("y", "float[3,1,1,2] y", None),
)
