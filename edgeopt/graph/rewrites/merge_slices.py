"""Merge two Slices in a row into one, or into none where the second undoes the first.

    x[i:j][k:l] = x[i + k : i + l];     x[::-1][::-1] = x

Before:
    Slice(Slice(x, i, j), k, l)         of the same or of other axes, with steps of any sign
After:
    Slice(x, i + k, i + l); x itself where that is all of it, in order

Weights: starts, ends, axes and steps, int64. A chain of n becomes one in n - 1 applications.

Does not apply when:
    - the value in between is read elsewhere too and the two do not cancel: nothing would be saved,
    - bounds are not constant, a shape is not known, or nothing is left,
    - the opset is below 10 and a step is not 1.

Source: ONNX Slice-13.
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial

import onnx_ir

from edgeopt.graph.editing import (
    ELSEWHERE,
    before,
    is_shared,
    made_slices,
    opset_of,
    replace,
    slice_ranges,
)
from edgeopt.graph.flops import sizes
from edgeopt.graph.matching import Found, Refusal, bypass
from edgeopt.graph.rewrites import Example

ORDER = 25
EXACT = True
RTOL = 0.0


class MergeSlices:
    """A Slice of a Slice."""

    def find(self, model: onnx_ir.Model, node: onnx_ir.Node) -> Found | Refusal | None:
        """See `edgeopt.graph.rewrites.Rule`."""
        if node.op_type != "Slice" or node.domain:
            return None
        first = before(node.inputs[0], {"Slice"})
        x = first.inputs[0] if first is not None else None
        shape = sizes(x)
        if first is None or x is None:
            return None
        inner, outer = slice_ranges(first), slice_ranges(node)
        if inner is None or outer is None or shape is None:
            return Refusal("bounds are not constant, or a shape is not known")
        if any(len(taken) == 0 for taken in (*inner.values(), *outer.values())):
            return Refusal("nothing is left")
        both = _composed(inner, outer)
        if all(taken == range(shape[axis]) for axis, taken in both.items()):
            return bypass(node, x)
        if is_shared(first.outputs[0]):
            return ELSEWHERE
        if opset_of(node) < 10 and any(taken.step != 1 for taken in both.values()):
            return Refusal("this opset has no steps")
        name = str(node.outputs[0].name)
        return Found((first, node), partial(_merge, model.graph, node, x, both, name))


def _composed(inner: Mapping[int, range], outer: Mapping[int, range]) -> dict[int, range]:
    both = dict(inner)
    for axis, taken in outer.items():
        if (under := inner.get(axis)) is None:
            both[axis] = taken
            continue
        step = under.step * taken.step
        last = under[taken[-1]]
        both[axis] = range(under[taken[0]], last + (1 if step > 0 else -1), step)
    return both


def _merge(
    graph: onnx_ir.Graph, node: onnx_ir.Node, x: onnx_ir.Value, both: Mapping[int, range], name: str
) -> list[onnx_ir.Node]:
    return list(replace(graph, node, [made_slices(graph, x, both, name)]))


RULES = (MergeSlices(),)


def _example(
    body: str, becomes: tuple[str, ...] | None, reason: str = "", out: str = "float[6,4] y"
) -> Example:
    return Example(
        f"""<ir_version: 8, opset_import: ["": 17]> agraph (float[6,4] x) => ({out})
        <int64[1] zero = {{0}}, int64[1] one = {{1}}, int64[1] two = {{2}}, int64[1] last = {{-1}},
         int64[1] five = {{5}}, int64[1] end = {{1000}}, int64[1] before = {{-1000}}>
        {{ {body} y = Relu(b) }}""",
        becomes,
        reason,
    )


EXAMPLES = (
    _example("a = Slice(x, one, end, zero) b = Slice(a, one, last, zero)", ("Slice", "Relu"),
             out="float[3,4] y"),
    _example("a = Slice(x, last, before, zero, last) b = Slice(a, last, before, zero, last)", ("Relu",)),
    _example("a = Slice(x, last, before, zero, last) b = Slice(a, zero, five, zero, two)", ("Slice", "Relu"),
             out="float[3,4] y"),
    _example("a = Slice(x, one, end, zero) b = Slice(a, one, two, one)", ("Slice", "Relu"),
             out="float[5,1] y"),
    _example("a = Slice(x, one, end, zero) b = Slice(a, one, last, zero) c = Neg(a)", None, "elsewhere",
             out="float[3,4] y, float[5,4] c"),
)  # fmt: skip
