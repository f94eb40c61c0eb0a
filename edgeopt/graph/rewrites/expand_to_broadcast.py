"""Let an elementwise operator broadcast what an Expand or a Tile repeats for it.

    f(Expand(x), z) = f(x, z)     where f broadcasts x to the same shape

Before:
    Add(Expand(x, s), z), Add(Tile(x, r), z)
After:
    Add(x, z)

Weights: none.

Does not apply when:
    - the result would become smaller: no other operand has that size,
    - Tile repeats an axis that is larger than 1,
    - a shape is not known, or the opset is below 8 (where operators broadcast otherwise).

Source: ONNX Broadcasting, Expand-13, Tile-13.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial

import numpy as np
import onnx_ir

from edgeopt.graph.editing import SHAPE_UNKNOWN, before, opset_of
from edgeopt.graph.flops import sizes
from edgeopt.graph.matching import Found, Refusal
from edgeopt.graph.rewrites import Example

ORDER = 29
EXACT = True
RTOL = 0.0

_BROADCASTING = frozenset({
    "Add", "Sub", "Mul", "Div", "Pow", "Min", "Max", "Mean", "Sum", "Where", "Equal", "Greater", "Less",
    "GreaterOrEqual", "LessOrEqual", "And", "Or", "Xor", "Mod",
})  # fmt: skip
_MIN_OPSET = 8


class ExpandToBroadcast:
    """An elementwise operator that reads an Expand or a Tile."""

    def find(self, model: onnx_ir.Model, node: onnx_ir.Node) -> Found | Refusal | None:  # noqa: ARG002
        """See `edgeopt.graph.rewrites.Rule`."""
        if node.op_type not in _BROADCASTING or node.domain or opset_of(node) < _MIN_OPSET:
            return None
        refusal: Refusal | None = None
        for position, value in enumerate(node.inputs):
            repeat = before(value, {"Expand", "Tile"})
            x = repeat.inputs[0] if repeat is not None else None
            if repeat is None or x is None:
                continue
            refusal = _why_not(node, position, repeat, x)
            if refusal is None:
                return Found((node,), partial(_read, node, position, x))
        return refusal


def _why_not(node: onnx_ir.Node, position: int, repeat: onnx_ir.Node, x: onnx_ir.Value) -> Refusal | None:
    shapes = [sizes(value) for value in node.inputs]
    small, large, result = sizes(x), sizes(repeat.outputs[0]), sizes(node.outputs[0])
    if None in shapes or small is None or large is None or result is None:
        return SHAPE_UNKNOWN
    if repeat.op_type == "Tile" and any(a not in (1, b) for a, b in zip(small, large, strict=True)):
        return Refusal("Tile repeats an axis that is larger than 1")
    shapes[position] = small
    if np.broadcast_shapes(*(shape for shape in shapes if shape is not None)) != result:
        return Refusal("no other operand has the size of the result")
    return None


def _read(node: onnx_ir.Node, position: int, x: onnx_ir.Value) -> Sequence[onnx_ir.Node]:
    node.replace_input_with(position, x)
    return [node]


RULES = (ExpandToBroadcast(),)


def _example(
    body: str, becomes: tuple[str, ...] | None, reason: str = "", out: str = "float[2,3] y"
) -> Example:
    return Example(
        f"""<ir_version: 8, opset_import: ["": 17]> agraph (float[1,3] x, float[2,3] z) => ({out})
        <int64[2] shape = {{2, 3}}, int64[2] twice = {{2, 1}}, int64[2] along = {{1, 2}}> {{ {body} }}""",
        becomes,
        reason,
    )


EXAMPLES = (
    _example("e = Expand(x, shape) y = Add(z, e)", ("Add",)),
    _example("t = Tile(x, twice) y = Max(t, z, t)", ("Max",)),
    _example("e = Expand(x, shape) n = Neg(e) y = Add(z, e)", ("Expand", "Neg", "Add"),
             out="float[2,3] y, float[2,3] n"),
    _example("e = Expand(x, shape) y = Add(x, e)", None, "size of the result"),
    _example("t = Tile(x, along) u = Tile(z, along) y = Add(t, u)", None, "larger than 1",
             out="float[2,6] y"),
)  # fmt: skip
