"""Remove what changes nothing.

    f(x) = x

Before:
    Identity; Dropout (inference); Cast to the same type; Add or Sub 0; Mul or Div by 1; Pow 1; Concat of one;
    Pad by nothing; and Reshape, Flatten, Squeeze, Unsqueeze, Expand, Slice, Tile, Transpose, Resize-free
    layout operators that return their input's shape and order
After:
    x

Weights: none; the constants may have any shape that does not enlarge the result.

Does not apply when:
    - the node's result is an output of the model, and its input is an input or another output of the model
      (the name of the output must stay),
    - broadcasting with the constant enlarges the result, or a shape is not known,
    - Dropout is in training mode, or its mask is read.

Source: ONNX operators, version 17 of each.
"""

from __future__ import annotations

import numpy as np
import onnx_ir

from edgeopt.graph.constants import array_of
from edgeopt.graph.editing import permutation
from edgeopt.graph.flops import sizes
from edgeopt.graph.matching import Found, Refusal, bypass
from edgeopt.graph.rewrites import Example

ORDER = 20
EXACT = True
RTOL = 1e-6

_NEUTRAL = {"Add": (0, (0, 1)), "Sub": (0, (0,)), "Mul": (1, (0, 1)), "Div": (1, (0,)), "Pow": (1, (0,))}
"""Operator to its neutral element, and which inputs may be the one that is kept."""

_RESHAPING = frozenset({"Reshape", "Flatten", "Squeeze", "Unsqueeze"})
_SAME_IF_SAME_SHAPE = _RESHAPING | {"Expand", "Tile"}
"""Operators that return their input if its shape does not change."""


class RemoveNoop:
    """A node whose output equals one of its inputs."""

    def find(self, model: onnx_ir.Model, node: onnx_ir.Node) -> Found | Refusal | None:  # noqa: ARG002
        """See `edgeopt.graph.rewrites.Rule`."""
        if node.domain or not node.inputs or node.inputs[0] is None:
            return None
        if node.op_type == "Dropout" and any(output.uses() for output in node.outputs[1:]):
            return Refusal("the mask of Dropout is read")
        kept = _kept(node)
        return None if kept is None else bypass(node, kept)


def _kept(node: onnx_ir.Node) -> onnx_ir.Value | None:
    """The input that the first output always equals, or None."""
    first, operator = node.inputs[0], node.op_type
    if operator == "Identity" or (operator == "Concat" and len(node.inputs) == 1):
        return first
    if operator == "Dropout":
        training = node.inputs[2] if len(node.inputs) > 2 else None
        return first if training is None or array_of(training) == np.asarray(False) else None
    if operator in _NEUTRAL:
        neutral, positions = _NEUTRAL[operator]
        for position in positions:
            if _is_all(node.inputs[1 - position], neutral) and _same_shape(node, position):
                return node.inputs[position]
        return None
    if not _same_shape(node, 0):
        return None
    if operator in _SAME_IF_SAME_SHAPE or (operator == "Pad" and _pads_nothing(node)):
        return first
    if operator == "Cast":
        return first if first is not None and first.dtype == node.attributes["to"].as_int() else None
    if operator == "Transpose":
        order = permutation(node)
        return first if order is not None and order == sorted(order) else None
    if operator == "Slice":
        steps = array_of(node.inputs[4]) if len(node.inputs) > 4 else np.ones(1)
        return first if steps is not None and bool(np.all(np.sign(steps.astype(np.int64)) > 0)) else None
    return None


def _same_shape(node: onnx_ir.Node, position: int) -> bool:
    before, after = sizes(node.inputs[position]), sizes(node.outputs[0])
    return before is not None and before == after


def _pads_nothing(node: onnx_ir.Node) -> bool:
    pads = array_of(node.inputs[1]) if len(node.inputs) > 1 else node.attributes.get_ints("pads", None)
    return pads is not None and not np.any(pads)


def _is_all(value: onnx_ir.Value | None, number: int) -> bool:
    array = array_of(value)
    return array is not None and array.dtype.kind in "fiu" and bool((array == number).all())


RULES = (RemoveNoop(),)


def _example(
    body: str, becomes: tuple[str, ...] | None, reason: str = "", out: str = "float[2,3,4] y"
) -> Example:
    return Example(
        f"""<ir_version: 8, opset_import: ["": 17]>
        agraph (float[2,3,4] x) => ({out})
          <float one = {{1}}, float zero = {{0}}, float[2,1,1] zeros = {{0, 0}},
           int64[3] same = {{2, 3, 4}}, int64[3] rest = {{0, 0, -1}}, int64[2] flat = {{2, 12}},
           int64[6] nothing = {{0, 0, 0, 0, 0, 0}}, int64[1] start = {{0}}, int64[1] end = {{99}},
           int64[1] axis = {{1}}>
        {{ {body} }}""",
        becomes,
        reason,
    )


EXAMPLES = (
    _example("a = Identity(x) b = Dropout(a) y = Relu(b)", ("Relu",)),
    _example("r = Relu(x) y = Identity(r)", ("Relu",)),
    _example("a = Mul(one, x) b = Add(a, zeros) c = Sub(b, zero) d = Div(c, one) y = Relu(d)", ("Relu",)),
    _example("a = Cast <to = 1> (x) b = Pad(a, nothing) c = Concat <axis = 0> (b) y = Relu(c)", ("Relu",)),
    _example("a = Reshape(x, same) b = Slice(a, start, end, axis) y = Relu(b)", ("Relu",)),
    _example("y = Identity(x)", None, "output of the model"),
    _example("r = Relu(x) y = Add(r, one)", None),
    Example(
        """<ir_version: 8, opset_import: ["": 17]>
        agraph (float[1,3] x) => (float[2,3] y) <float[2,1] zeros = {0, 0}>
        { a = Add(x, zeros)
          y = Relu(a) }""",
        becomes=None,
    ),
)
