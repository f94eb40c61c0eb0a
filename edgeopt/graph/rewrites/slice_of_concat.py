"""Take a Slice of a Concat from the one part that it lies in.

    [a, b, c][i:j] = b[i - |a| : j - |a|]     where |a| <= i and j <= |a| + |b|

Before:
    Slice(Concat(a, b, c), i, j)
After:
    Slice(b, i - |a|, j - |a|); b itself where that is all of it

Weights: start, end and axis, int64. The Concat goes where nothing else reads it.

Does not apply when:
    - the Slice takes from more than one part, takes nothing, or cuts more than the axis of the Concat,
    - its step is not 1, its bounds are not constant, or a shape is not known.

Source: ONNX Slice-13, Concat-13.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial

import onnx_ir

from edgeopt.graph.editing import SHAPE_UNKNOWN, Piece, before, made_slice, piece_of, replace
from edgeopt.graph.flops import sizes
from edgeopt.graph.matching import Found, Refusal, bypass
from edgeopt.graph.rewrites import Example

ORDER = 25
EXACT = True
RTOL = 0.0


class SliceOfConcat:
    """A Slice after a Concat of the same axis."""

    def find(self, model: onnx_ir.Model, node: onnx_ir.Node) -> Found | Refusal | None:
        """See `edgeopt.graph.rewrites.Rule`."""
        if node.op_type != "Slice" or node.domain:
            return None
        concat = before(node.inputs[0], {"Concat"})
        if concat is None:
            return None
        piece = piece_of(node.outputs[0])
        if piece is None:
            return Refusal("it cuts several axes, has a step, or its bounds are not constant")
        return _from_part(model, node, concat, piece)


def _from_part(
    model: onnx_ir.Model, node: onnx_ir.Node, concat: onnx_ir.Node, piece: Piece
) -> Found | Refusal | None:
    joined = concat.outputs[0].shape
    if joined is None or concat.attributes.get_int("axis", 1) % len(joined) != piece.axis:
        return Refusal("it cuts another axis than the Concat joins")
    begin = 0
    for part in concat.inputs:
        shape = sizes(part)
        if part is None or shape is None:
            return SHAPE_UNKNOWN
        length = shape[piece.axis]
        start, stop = piece.start - begin, piece.stop - begin
        if 0 <= start < stop <= length:
            if (start, stop) == (0, length):
                return bypass(node, part)
            return Found((node,), partial(_cut, model.graph, node, part, piece.axis, start, stop))
        begin += length
    return Refusal("it takes from more than one part, or nothing")


def _cut(
    graph: onnx_ir.Graph, node: onnx_ir.Node, part: onnx_ir.Value, axis: int, start: int, stop: int
) -> Sequence[onnx_ir.Node]:
    return replace(graph, node, [made_slice(graph, part, axis, start, stop, str(node.outputs[0].name))])


RULES = (SliceOfConcat(),)


def _example(
    start: int, end: int, becomes: tuple[str, ...] | None, reason: str = "", axis: int = 1
) -> Example:
    size = [5, 6]
    size[axis] = end - start
    return Example(
        f"""<ir_version: 8, opset_import: ["": 17]>
        agraph (float[5,2] x, float[5,4] z) => (float[{size[0]},{size[1]}] y)
          <int64[1] start = {{{start}}}, int64[1] end = {{{end}}}, int64[1] axis = {{{axis}}}>
        {{ a = Neg(x)
           c = Concat <axis = -1> (a, z)
           s = Slice(c, start, end, axis)
           y = Relu(s) }}""",
        becomes,
        reason,
    )


EXAMPLES = (
    _example(0, 2, ("Neg", "Relu")),
    _example(3, 5, ("Slice", "Relu")),
    _example(1, 3, None, "more than one part"),
    _example(1, 3, None, "another axis", axis=0),
    Example(
        """<ir_version: 5, opset_import: ["": 9]> agraph (float[5,2] x, float[5,4] z) => (float[5,1] y)
        { c = Concat <axis = 1> (x, z)
          y = Slice <axes = [1], starts = [-2], ends = [-1]> (c) }""",
        becomes=("Slice",),
    ),
)
