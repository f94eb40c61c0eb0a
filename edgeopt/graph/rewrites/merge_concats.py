"""Merge a Concat that only another Concat of the same axis reads into that one.

    [[a, b], c] = [a, b, c]

Before:
    Concat(Concat(a, b), c)
After:
    Concat(a, b, c)

Weights: none. Every application removes one Concat.

Does not apply when:
    - the inner Concat joins along another axis,
    - its result is read elsewhere too, or is an output of the model.

Source: ONNX Concat-13.
"""

from __future__ import annotations

from functools import partial

import onnx_ir

from edgeopt.graph.editing import ELSEWHERE, before, is_shared, made, replace
from edgeopt.graph.flops import sizes
from edgeopt.graph.matching import Found, Refusal
from edgeopt.graph.rewrites import Example

ORDER = 26
EXACT = True
RTOL = 0.0


class MergeConcats:
    """A Concat of Concats."""

    def find(self, model: onnx_ir.Model, node: onnx_ir.Node) -> Found | Refusal | None:
        """See `edgeopt.graph.rewrites.Rule`."""
        if node.op_type != "Concat" or node.domain:
            return None
        refusal: Refusal | None = None
        for position, value in enumerate(node.inputs):
            inner = before(value, {"Concat"})
            if inner is None:
                continue
            if _axis(inner) is None or _axis(inner) != _axis(node):
                refusal = Refusal("the Concat before it joins along another axis")
            elif is_shared(inner.outputs[0]):
                refusal = ELSEWHERE
            else:
                return Found((inner, node), partial(_merge, model.graph, node, inner, position))
        return refusal


def _axis(concat: onnx_ir.Node) -> int | None:
    shape = concat.outputs[0].shape
    axis = concat.attributes.get_int("axis", 1)
    return axis % len(shape) if shape is not None else axis if axis >= 0 else None


def _merge(
    graph: onnx_ir.Graph, node: onnx_ir.Node, inner: onnx_ir.Node, position: int
) -> list[onnx_ir.Node]:
    parts = [*node.inputs[:position], *inner.inputs, *node.inputs[position + 1 :]]
    output = node.outputs[0]
    merged = made("Concat", parts, sizes(output), output.dtype, node.attributes.values())
    return list(replace(graph, node, [merged]))


RULES = (MergeConcats(),)

HEAD = '<ir_version: 8, opset_import: ["": 17]> agraph (float[2,3] x) => '

EXAMPLES = (
    Example(
        HEAD
        + """(float[2,12] y) {
          n = Neg(x)
          a = Concat <axis = 1> (x, n)
          b = Concat <axis = -1> (n, a)
          y = Concat <axis = 1> (b, x) }""",
        becomes=("Neg", "Concat"),
    ),
    Example(
        HEAD
        + """(float[4,6] y) {
          a = Concat <axis = 1> (x, x)
          y = Concat <axis = 0> (a, a) }""",
        becomes=None,
        reason="another axis",
    ),
    Example(
        HEAD
        + """(float[6,3] y, float[4,3] a) {
          a = Concat <axis = 0> (x, x)
          y = Concat <axis = 0> (a, x) }""",
        becomes=None,
        reason="elsewhere",
    ),
)
