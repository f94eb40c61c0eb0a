"""Replace a constant that is the same number everywhere by that number, where it is broadcast anyway.

    f(x, [c, c, ..., c]) = f(x, c)     f elementwise

Before:
    Mul(x, ConstantOfShape(s)), Add(x, c)       c of any shape, filled with one number
After:
    Mul(x, number), Add(x, number)

Weights: any shape of at least 64 elements; becomes a scalar.

Does not apply when:
    - the result would become smaller, or a shape is not known,
    - the numbers differ (0 and -0 do, NaN does from itself), or there are fewer than 64,
    - the opset is below 8 (where operators broadcast otherwise).

Source: ONNX Broadcasting, ConstantOfShape-9.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from weakref import WeakKeyDictionary

import numpy as np
import onnx_ir
from numpy.typing import NDArray

from edgeopt.graph.constants import add_initializer, array_of
from edgeopt.graph.editing import before, opset_of
from edgeopt.graph.flops import elements, sizes
from edgeopt.graph.matching import Found, Refusal
from edgeopt.graph.rewrites import Example

ORDER = 30
EXACT = True
RTOL = 0.0

MIN_ELEMENTS = 64

_BROADCASTING = frozenset({
    "Add", "Sub", "Mul", "Div", "Pow", "Min", "Max", "Mean", "Sum", "Where", "Equal", "Greater", "Less",
    "GreaterOrEqual", "LessOrEqual", "And", "Or", "Xor",
})  # fmt: skip
_MIN_OPSET = 8


class UniformToScalar:
    """An elementwise operator that reads a constant full of one number."""

    def __init__(self) -> None:
        self._uniform: WeakKeyDictionary[object, bool] = WeakKeyDictionary()

    def find(self, model: onnx_ir.Model, node: onnx_ir.Node) -> Found | Refusal | None:
        """See `edgeopt.graph.rewrites.Rule`."""
        if node.op_type not in _BROADCASTING or node.domain or opset_of(node) < _MIN_OPSET:
            return None
        refusal: Refusal | None = None
        for position, value in enumerate(node.inputs):
            if (elements(value) or 0) < MIN_ELEMENTS or (number := self._number(value)) is None:
                continue
            others = [sizes(v) for index, v in enumerate(node.inputs) if index != position]
            known = [shape for shape in others if shape is not None]
            if len(known) < len(others) or np.broadcast_shapes(*known) != sizes(node.outputs[0]):
                refusal = Refusal("no other operand has the size of the result")
                continue
            return Found((node,), partial(_read, model.graph, node, position, number))
        return refusal

    def _number(self, value: onnx_ir.Value | None) -> NDArray[np.generic] | None:
        """The number that fills a constant, as an array without axes; None where it is not one number."""
        if (fill := before(value, {"ConstantOfShape"})) is not None:
            given = fill.attributes.get("value")
            number = np.zeros(1, np.float32) if given is None else np.asarray(given.as_tensor().numpy())
            return number.reshape(())
        array, tensor = array_of(value), value.const_value if value is not None else None
        if array is None or tensor is None or array.dtype.kind not in "fiub":
            return None
        if tensor not in self._uniform:
            raw = np.ascontiguousarray(array).reshape(-1).view(np.uint8).reshape(array.size, -1)
            self._uniform[tensor] = bool((raw[-1] == raw[0]).all() and (raw == raw[0]).all())
        return array.reshape(-1)[0].reshape(()) if self._uniform[tensor] else None


def _read(
    graph: onnx_ir.Graph, node: onnx_ir.Node, position: int, number: NDArray[np.generic]
) -> Sequence[onnx_ir.Node]:
    node.replace_input_with(position, add_initializer(graph, f"{node.outputs[0].name}_number", number))
    return [node]


RULES = (UniformToScalar(),)


def _example(body: str, numbers: str, becomes: tuple[str, ...] | None, reason: str = "") -> Example:
    return Example(
        f"""<ir_version: 8, opset_import: ["": 17]> agraph (float[2,64] x, float[2,1] z) => (float[2,64] y)
        <int64[2] shape = {{2, 64}}, float[64] c = {{{numbers}}}>
        {{ {body} }}""",
        becomes,
        reason,
    )


_SAME, _OTHER = ", ".join(["2"] * 64), ", ".join(["2"] * 63 + ["3"])

EXAMPLES = (
    _example("y = Mul(x, c)", _SAME, ("Mul",)),
    _example("f = ConstantOfShape <value = float[1] {3}> (shape) y = Add(f, x)", _SAME, ("Add",)),
    _example("y = Add(z, c)", _SAME, None, "size of the result"),
    _example("y = Mul(x, c)", _OTHER, None),
)
