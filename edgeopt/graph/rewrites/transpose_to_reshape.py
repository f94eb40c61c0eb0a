"""Replace a Transpose that only moves axes of size 1 by a Reshape, which copies nothing.

    the axes larger than 1 keep their order  =>  Transpose(x, p) and x hold the same numbers in the same order

Before:
    Transpose(x)            x is (1, C, 1, L), perm = [0, 2, 3, 1] of L = 1, ...
After:
    Reshape(x, shape of the result)

Weights: the shape, int64.

Does not apply when:
    - an axis larger than 1 changes its place among the others of that kind,
    - the shape is not known, or holds a 0.

Source: ONNX Transpose-13, Reshape-14.
"""

from __future__ import annotations

import onnx_ir

from edgeopt.graph.editing import made_reshape, permutation, replace
from edgeopt.graph.flops import sizes
from edgeopt.graph.matching import Found, Refusal
from edgeopt.graph.rewrites import Example

ORDER = 24
EXACT = True
RTOL = 0.0


class TransposeToReshape:
    """A Transpose of axes of size 1."""

    def find(self, model: onnx_ir.Model, node: onnx_ir.Node) -> Found | Refusal | None:
        """See `edgeopt.graph.rewrites.Rule`."""
        if node.op_type != "Transpose" or node.domain or (x := node.inputs[0]) is None:
            return None
        shape, order = sizes(x), permutation(node)
        if shape is None or order is None or 0 in shape or order == sorted(order):
            return None
        moved = [axis for axis in order if shape[axis] != 1]
        if moved != sorted(moved):
            return Refusal("it moves an axis that is larger than 1")
        after, name = [shape[axis] for axis in order], str(node.outputs[0].name)
        return Found((node,), lambda: replace(model.graph, node, [made_reshape(model.graph, x, after, name)]))


RULES = (TransposeToReshape(),)

HEAD = '<ir_version: 8, opset_import: ["": 17]> agraph '

EXAMPLES = (
    Example(
        HEAD + "(float[1,8,1,3] x) => (float[8,3,1,1] y) { y = Transpose <perm = [1, 3, 0, 2]> (x) }",
        becomes=("Reshape",),
    ),
    Example(
        HEAD + "(float[1,8,2] x) => (float[1,2,8] y) { y = Transpose <perm = [0, 2, 1]> (x) }",
        becomes=None,
        reason="larger than 1",
    ),
)
