"""Compute ahead of time what does not depend on the input: constants, and the sizes of fixed shapes.

    y = f(c1, c2, ...)   with all c constant      y is stored
    s = Shape(x)         with x of fixed shape    s is stored

Before:
    Shape(x) -> Gather -> Unsqueeze -> Concat -> Reshape(x, .)
After:
    Reshape(x, constant)

Weights: any shape; a result may have 256 KiB, or as many bytes as the constants that it replaces.

Does not apply when:
    - the result is an output of the model,
    - a Range reads the result, which is no scalar (an invalid graph that runtimes run all the same),
    - the operator is random, holds a graph, is of another domain, or (de)quantizes (a quantized weight is
      meant to stay small),
    - the result would be larger than what it replaces and than the bound above (so a float16 weight that is
      cast to float32 stays small).

Source: ONNX operators as evaluated by `onnx.reference`.
"""

from __future__ import annotations

from collections.abc import Sequence

import onnx_ir

from edgeopt.graph.constants import evaluate, foldable, replace_node
from edgeopt.graph.editing import breaks_range
from edgeopt.graph.matching import Found, Refusal
from edgeopt.graph.rewrites import Example

ORDER = 10
EXACT = True
RTOL = 1e-6


class FoldConstants:
    """A node whose inputs are all constant, or which asks for a fixed shape."""

    def find(self, model: onnx_ir.Model, node: onnx_ir.Node) -> Found | Refusal | None:  # noqa: ARG002
        """See `edgeopt.graph.rewrites.Rule`."""
        asks_shape = node.op_type in ("Shape", "Size") and not node.domain
        if not asks_shape and any(v is not None and not v.is_initializer() for v in node.inputs):
            return None
        if (reason := foldable(node)) is not None:
            return Refusal(reason)
        if any(breaks_range(output) for output in node.outputs):
            return Refusal("Range reads it, and it is no scalar")
        return Found((node,), lambda: _fold(node))


def _fold(node: onnx_ir.Node) -> Sequence[onnx_ir.Node] | None:
    arrays = evaluate(node)
    if arrays is None:
        return None
    replace_node(node, arrays)
    return []


RULES = (FoldConstants(),)

EXAMPLES = (
    Example(
        """<ir_version: 8, opset_import: ["": 17]>
        agraph (int64[3] x) => (int64[k] r) <int64 start = {0}, int64 step = {1}>
        { s = Shape(x)
          r = Range(start, s, step) }""",
        becomes=None,
        reason="no scalar",
    ),
    Example(
        """<ir_version: 8, opset_import: ["": 17]>
        agraph (float[2,3,4] x) => (float[2,12] y) <int64[1] zero = {0}, int64[1] rest = {-1}>
        { s = Shape(x)
          n = Gather(s, zero)
          t = Concat<axis=0>(n, rest)
          y = Reshape(x, t) }""",
        becomes=("Reshape",),
    ),
    Example(
        """<ir_version: 8, opset_import: ["": 17]>
        agraph (float[1,3] x) => (float[1,3] y) <float[3] a = {1, 2, 3}, float[3] b = {4, 5, 6}>
        { c = Mul(a, b)
          y = Add(x, c) }""",
        becomes=("Add",),
    ),
    Example(
        """<ir_version: 8, opset_import: ["": 17]>
        agraph (float[3] x) => (float[3] y, float[3] c) <float[3] a = {1, 2, 3}>
        { c = Neg(a)
          y = Add(x, c) }""",
        becomes=None,
        reason="output of the model",
    ),
    Example(
        """<ir_version: 8, opset_import: ["": 17]>
        agraph (float[3] x) => (float[3] y)
          <int8[3] q = {1, 2, 3}, float scale = {0.5}, int8 zero = {0}>
        { w = DequantizeLinear(q, scale, zero)
          y = Add(x, w) }""",
        becomes=None,
        reason="small",
    ),
    Example(
        """<ir_version: 8, opset_import: ["": 17]>
        agraph (float[1] x) => (float[1000,1000] y) <int64[2] size = {1000, 1000}>
        { zeros = ConstantOfShape(size)
          y = Add(x, zeros) }""",
        becomes=None,
        reason="too many",
    ),
)
