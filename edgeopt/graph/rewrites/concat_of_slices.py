"""Join neighbouring pieces of one value by taking them as one piece.

    [x[i:j], x[j:k]] = x[i:k]

Before:
    Concat(Slice(x, i, j), Slice(x, j, k)), also of Split's parts, and of indices with their axis kept
    (Unsqueeze(Gather(x, scalar)))
After:
    Slice(x, i, k); x itself where that is all of it; with step -1 where single indices descend

Weights: start, end and axis, int64. Other inputs of the Concat stay. The pieces go where nothing else reads
them.

Does not apply when:
    - the pieces are of different values or axes, overlap, leave a gap, or are in another order,
    - a piece has a step, or its bounds are not constant.

Source: ONNX Concat-13, Slice-13, Split-13, Gather-13.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial

import onnx_ir

from edgeopt.graph.editing import Piece, made, made_slice, made_slices, opset_of, piece_of, replace
from edgeopt.graph.flops import sizes
from edgeopt.graph.matching import Found, Refusal, bypass
from edgeopt.graph.rewrites import Example

ORDER = 25
EXACT = True
RTOL = 0.0

MIN_RUN = 2


class ConcatOfSlices:
    """A Concat with at least two neighbouring pieces of one value in a row."""

    def find(self, model: onnx_ir.Model, node: onnx_ir.Node) -> Found | Refusal | None:
        """See `edgeopt.graph.rewrites.Rule`."""
        if node.op_type != "Concat" or node.domain or len(node.inputs) < MIN_RUN:
            return None
        shape = node.outputs[0].shape
        pieces = [piece_of(value) for value in node.inputs]
        if shape is None or sum(piece is not None for piece in pieces) < MIN_RUN:
            return None
        axis = node.attributes.get_int("axis", 1) % len(shape)
        back = _reversed(pieces, axis) if opset_of(node) >= 10 else None
        if back is not None:
            return Found((node,), partial(_turn, model.graph, node, back))
        first, run = _longest_run(pieces, axis)
        if run is None:
            return Refusal("its pieces are not neighbours, in order, of one value and axis")
        whole = sizes(run.source)
        if whole is not None and (run.start, run.stop) == (0, whole[run.axis]) and first == (0, len(pieces)):
            return bypass(node, run.source)
        return Found((node,), partial(_join, model.graph, node, first, run))


def _reversed(pieces: Sequence[Piece | None], axis: int) -> Piece | None:
    """What single indices in descending order, and nothing else, make together; None for anything else."""
    found = [piece for piece in pieces if piece is not None]
    if len(found) < len(pieces) or any(piece.stop - piece.start != 1 for piece in found):
        return None
    first, last = found[0], found[-1]
    if {(piece.source, piece.axis) for piece in found} != {(first.source, axis)}:
        return None
    if [piece.start for piece in found] != list(range(first.start, last.start - 1, -1)):
        return None
    return Piece(first.source, axis, last.start, first.stop)


def _turn(graph: onnx_ir.Graph, node: onnx_ir.Node, run: Piece) -> Sequence[onnx_ir.Node]:
    taken = {run.axis: range(run.stop - 1, run.start - 1, -1)}
    return replace(graph, node, [made_slices(graph, run.source, taken, str(node.outputs[0].name))])


def _longest_run(pieces: Sequence[Piece | None], axis: int) -> tuple[tuple[int, int], Piece | None]:
    """Positions `[first, last)` of the longest run of neighbours, and the piece that they make."""
    best: tuple[tuple[int, int], Piece | None] = ((0, 0), None)
    first, run = 0, None
    for position, piece in enumerate(pieces):
        follows = (
            run is not None
            and piece is not None
            and piece.source is run.source
            and piece.axis == run.axis == axis
            and piece.start == run.stop
        )
        if follows and run is not None and piece is not None:
            run = Piece(run.source, axis, run.start, piece.stop)
        else:
            first, run = position, piece
        length = position + 1 - first
        if run is not None and length >= MIN_RUN and length > best[0][1] - best[0][0]:
            best = ((first, position + 1), run)
    return best


def _join(
    graph: onnx_ir.Graph, node: onnx_ir.Node, where: tuple[int, int], run: Piece
) -> Sequence[onnx_ir.Node]:
    output, new = node.outputs[0], []
    whole, joined = sizes(run.source), run.source
    if whole is None or (run.start, run.stop) != (0, whole[run.axis]):
        cut = made_slice(graph, run.source, run.axis, run.start, run.stop, str(output.name))
        new, joined = [cut], cut.outputs[0]
    rest = [*node.inputs[: where[0]], joined, *node.inputs[where[1] :]]
    if len(rest) > 1:
        new.append(made("Concat", rest, sizes(output), output.dtype, node.attributes.values()))
    return replace(graph, node, new)


RULES = (ConcatOfSlices(),)


def _example(
    body: str, becomes: tuple[str, ...] | None, reason: str = "", out: str = "float[6,2] y"
) -> Example:
    return Example(
        f"""<ir_version: 8, opset_import: ["": 17]> agraph (float[6,2] x) => ({out})
        <int64[1] zero = {{0}}, int64[1] two = {{2}}, int64[1] five = {{5}}, int64[1] six = {{6}},
         int64 i = {{2}}, int64 j = {{3}}, int64[2] parts = {{4, 2}}>
        {{ {body} y = Relu(c) }}""",
        becomes,
        reason,
    )


EXAMPLES = (
    _example("a = Slice(x, zero, two, zero) b = Slice(x, two, six, zero) c = Concat <axis = 0> (a, b)",
             ("Relu",)),
    _example("a, b = Split <axis = 0> (x, parts) c = Concat <axis = 0> (a, b)", ("Relu",)),
    _example("a = Slice(x, zero, two, zero) b = Slice(x, two, five, zero) c = Concat <axis = 0> (a, b)",
             ("Slice", "Relu"), out="float[5,2] y"),
    _example("g = Gather(x, i) h = Gather(x, j) a = Unsqueeze(g, zero) b = Unsqueeze(h, zero)"
             " n = Neg(x) c = Concat <axis = 0> (n, a, b)",
             ("Neg", "Slice", "Concat", "Relu"), out="float[8,2] y"),
    _example("g = Gather(x, i) h = Gather(x, j) a = Unsqueeze(g, zero) b = Unsqueeze(h, zero)"
             " c = Concat <axis = 0> (b, a)", ("Slice", "Relu"), out="float[2,2] y"),
    _example("a = Slice(x, zero, two, zero) b = Slice(x, two, six, zero) c = Concat <axis = 0> (b, a)",
             None, "neighbours"),
)  # fmt: skip
