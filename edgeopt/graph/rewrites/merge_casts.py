"""Merge two Casts in a row where the first loses nothing.

    Cast(Cast(x, A), B) = Cast(x, B)     where A holds every number of the type of x

Before:
    Cast(Cast(x, to=A), to=B)
After:
    Cast(x, to=B); x itself where B is its type

Weights: none. A chain of n becomes one in n - 1 applications.

Does not apply when:
    - A cannot hold every number of the type of x (float32 to float16, float32 to int64): it rounds,
    - a type is not known, or is not a plain number.

Source: ONNX Cast-19; NumPy `can_cast(..., "safe")`.
"""

from __future__ import annotations

import numpy as np
import onnx_ir

from edgeopt.graph.editing import before, made, replace
from edgeopt.graph.flops import sizes
from edgeopt.graph.matching import Found, Refusal, bypass
from edgeopt.graph.rewrites import Example

ORDER = 22
EXACT = True
RTOL = 0.0


class MergeCasts:
    """Two Casts in a row."""

    def find(self, model: onnx_ir.Model, node: onnx_ir.Node) -> Found | Refusal | None:
        """See `edgeopt.graph.rewrites.Rule`."""
        if node.op_type != "Cast" or node.domain:
            return None
        first = before(node.inputs[0], {"Cast"})
        x = first.inputs[0] if first is not None else None
        if first is None or x is None:
            return None
        to = onnx_ir.DataType(node.attributes["to"].as_int())
        through = onnx_ir.DataType(first.attributes["to"].as_int())
        if x.dtype is None or not _holds(x.dtype, through):
            return Refusal("the first Cast rounds, or its type is not a plain number")
        if to == x.dtype:
            return bypass(node, x)
        shape = sizes(node.outputs[0])
        return Found(
            (first, node),
            lambda: replace(model.graph, node, [made("Cast", [x], shape, to, node.attributes.values())]),
        )


def _holds(narrow: onnx_ir.DataType, wide: onnx_ir.DataType) -> bool:
    inner, outer = _plain(narrow), _plain(wide)
    return inner is not None and outer is not None and np.can_cast(inner, outer, "safe")


def _plain(kind: onnx_ir.DataType) -> np.dtype[np.generic] | None:
    """The type in NumPy; None for what is not its own (strings, bfloat16, 8-bit floats, 4-bit integers)."""
    try:
        dtype = kind.numpy()
    except TypeError:
        return None
    return dtype if dtype.isbuiltin == 1 and dtype.kind in "biuf" else None


RULES = (MergeCasts(),)

HEAD = '<ir_version: 8, opset_import: ["": 17]> agraph '

EXAMPLES = (
    Example(
        HEAD
        + """(int8[3] x) => (double[3] y) {
          a = Cast <to = 1> (x)
          y = Cast <to = 11> (a) }""",
        becomes=("Cast",),
    ),
    Example(
        HEAD
        + """(int8[3] x) => (int8[3] y) {
          n = Abs(x)
          a = Cast <to = 7> (n)
          y = Cast <to = 3> (a) }""",
        becomes=("Abs",),
    ),
    Example(
        HEAD
        + """(bool[3] x) => (float[3] y) {
          a = Cast <to = 6> (x)
          b = Cast <to = 7> (a)
          y = Cast <to = 1> (b) }""",
        becomes=("Cast",),
    ),
    Example(
        HEAD
        + """(float[3] x) => (float[3] y) {
          a = Cast <to = 7> (x)
          y = Cast <to = 1> (a) }""",
        becomes=None,
        reason="rounds",
    ),
)
