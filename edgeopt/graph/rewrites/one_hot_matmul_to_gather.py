"""Look the row up instead of multiplying a one-hot vector with the matrix.

    OneHot(i, D) @ W = W[i]

Before:
    MatMul(OneHot(i, D, [0, 1]), W)
After:
    Gather(W, i) where i is known to lie in the range; else Gather(W', Clip(i, -D - 1, D) + D + 1)

Weights: W is (D, N). W' is (2 * D + 2, N): a row of zeros, W, W, a row of zeros; OneHot counts negative
indices from the end, and gives zeros for those beyond the range, where Gather would fail.

Does not apply when:
    - W, the depth or the two values are not constant, or the values are not 0 and 1,
    - the axis of the one-hot vector is not the last, or the indices are not int32 or int64,
    - the one-hot vector is read elsewhere too.

Source: ONNX OneHot-11, Gather-13.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial

import numpy as np
import onnx_ir
from numpy.typing import NDArray

from edgeopt.graph.constants import array_of, scalar_of
from edgeopt.graph.editing import ELSEWHERE, before, is_shared, made, opset_of, replace
from edgeopt.graph.flops import sizes
from edgeopt.graph.lookup import CLIP_OF_INTEGERS, INDICES, within
from edgeopt.graph.matching import Found, Refusal
from edgeopt.graph.rewrites import Example

ORDER = 45
EXACT = True
RTOL = 1e-6


class OneHotMatMul:
    """A MatMul of a one-hot vector and a constant."""

    def find(self, model: onnx_ir.Model, node: onnx_ir.Node) -> Found | Refusal | None:
        """See `edgeopt.graph.rewrites.Rule`."""
        if node.op_type != "MatMul" or node.domain:
            return None
        hot = before(node.inputs[0], {"OneHot"})
        indices = hot.inputs[0] if hot is not None else None
        if hot is None or indices is None:
            return None
        depth, table, shape = scalar_of(hot.inputs[1]), array_of(node.inputs[1]), sizes(indices)
        values = array_of(hot.inputs[2])
        if depth is None or table is None or table.ndim != 2 or values is None or shape is None:
            return Refusal("the matrix, the depth or the values are computed")
        if values.tolist() != [0, 1]:
            return Refusal("the values are not 0 and 1")
        if hot.attributes.get_int("axis", -1) not in (-1, len(shape)) or indices.dtype not in INDICES:
            return Refusal("the one-hot axis is not the last, or the indices are not integers")
        if is_shared(hot.outputs[0]):
            return ELSEWHERE
        known = _in_range(indices, int(depth))
        if not known and opset_of(node) < CLIP_OF_INTEGERS:
            return Refusal("the indices may lie beyond the range, and this opset cannot clip integers")
        return Found((hot, node), partial(_look_up, model.graph, node, indices, table, known))


def _in_range(indices: onnx_ir.Value, depth: int) -> bool:
    """Whether the indices come from an ArgMax or ArgMin over at most `depth` numbers."""
    best = before(indices, {"ArgMax", "ArgMin"})
    searched = sizes(best.inputs[0]) if best is not None else None
    if best is None or not searched:
        return False
    return searched[best.attributes.get_int("axis", 0)] <= depth


def _look_up(
    graph: onnx_ir.Graph,
    node: onnx_ir.Node,
    indices: onnx_ir.Value,
    table: NDArray[np.generic],
    known: bool,
) -> Sequence[onnx_ir.Node]:
    output, new, weight, rows = node.outputs[0], list[onnx_ir.Node](), node.inputs[1], indices
    if not known:  # those from -depth on are counted from the end
        twice = np.concatenate([table, table])
        new, weight = within(graph, str(output.name), indices, twice, -len(table))
        rows = new[-1].outputs[0]
    new.append(made("Gather", [weight, rows], sizes(output), output.dtype, [onnx_ir.AttrInt64("axis", 0)]))
    return replace(graph, node, new)


RULES = (OneHotMatMul(),)


def _example(
    body: str, becomes: tuple[str, ...] | None, reason: str = "", out: str = "float[1,3,2] y", opset: int = 17
) -> Example:
    return Example(
        f"""<ir_version: 7, opset_import: ["": {opset}]>
        agraph (int64[1,3] i, float[1,4] scores) => ({out})
        <int64 depth = {{4}}, float[2] zero_one = {{0, 1}}, float[2] other = {{0, 2}},
         float[4,2] w = {{1, 2, 3, 4, 5, 6, 7, 8}}, int64 far = {{3}}>
        {{ {body} }}""",
        becomes,
        reason,
    )


EXAMPLES = (
    _example("h = OneHot(i, depth, zero_one) y = MatMul(h, w)", ("Clip", "Add", "Gather")),
    _example("j = Mul(i, far) k = Neg(j) l = Sub(k, far) h = OneHot(l, depth, zero_one) y = MatMul(h, w)",
             ("Mul", "Neg", "Sub", "Clip", "Add", "Gather")),
    _example("a = ArgMax <axis = 1> (scores) h = OneHot(a, depth, zero_one) y = MatMul(h, w)",
             ("ArgMax", "Gather"), out="float[1,1,2] y"),
    _example("h = OneHot(i, depth, other) y = MatMul(h, w)", None, "0 and 1"),
    _example("h = OneHot(i, depth, zero_one) y = MatMul(h, w)", None, "cannot clip", opset=11),
    _example("h = OneHot(i, depth, zero_one) y = MatMul(h, w) z = Neg(h)", None, "elsewhere",
             out="float[1,3,2] y, float[1,3,4] z"),
)  # fmt: skip
