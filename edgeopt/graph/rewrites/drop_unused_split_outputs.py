"""Take from a Split only the parts that are read.

    Split(x) = x[0:a], x[a:b], ...     and nobody reads all of them

Before:
    used, unused = Split(x)
After:
    used = Slice(x)

Weights: start, end and axis of each Slice, int64.

Does not apply when:
    - every part is read,
    - the sizes of the parts, or of x, are not known.

Source: ONNX Split-13, Slice-13.
"""

from __future__ import annotations

from collections.abc import Sequence

import onnx_ir

from edgeopt.graph.editing import Piece, made_slice, piece_of
from edgeopt.graph.matching import Found, Refusal, splice
from edgeopt.graph.rewrites import Example

ORDER = 27
EXACT = True
RTOL = 0.0


class DropUnusedParts:
    """A Split with a part that nothing reads."""

    def find(self, model: onnx_ir.Model, node: onnx_ir.Node) -> Found | Refusal | None:
        """See `edgeopt.graph.rewrites.Rule`."""
        if node.op_type != "Split" or node.domain:
            return None
        read = [value for value in node.outputs if value.uses() or value.is_graph_output()]
        if not read:
            return None
        if len(read) == len(node.outputs):
            return Refusal("every part is read")
        pieces = [piece_of(value) for value in read]
        if any(piece is None for piece in pieces):
            return Refusal("the sizes of its parts are not known")
        return Found((node,), lambda: _cut(model.graph, node, read, [p for p in pieces if p is not None]))


def _cut(
    graph: onnx_ir.Graph, node: onnx_ir.Node, read: Sequence[onnx_ir.Value], pieces: Sequence[Piece]
) -> Sequence[onnx_ir.Node]:
    new = [
        made_slice(graph, piece.source, piece.axis, piece.start, piece.stop, str(value.name))
        for value, piece in zip(read, pieces, strict=True)
    ]
    splice(graph, node, [node], new, read, [each.outputs[0] for each in new])
    return new


RULES = (DropUnusedParts(),)

EXAMPLES = (
    Example(
        """<ir_version: 8, opset_import: ["": 17]> agraph (float[2,6] x) => (float[2,2] y, float[2,1] z)
        <int64[3] parts = {2, 3, 1}> {
          a, b, z = Split <axis = -1> (x, parts)
          y = Relu(a) }""",
        becomes=("Slice", "Slice", "Relu"),
    ),
    Example(
        """<ir_version: 5, opset_import: ["": 9]> agraph (float[4,2] x) => (float[2,2] b) {
          a, b = Split <axis = 0> (x) }""",
        becomes=("Slice",),
    ),
    Example(
        """<ir_version: 8, opset_import: ["": 17]> agraph (float[4,2] x) => (float[2,2] y) {
          a, b = Split <axis = 0> (x)
          y = Sub(a, b) }""",
        becomes=None,
        reason="every part",
    ),
)
