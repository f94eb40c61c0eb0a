"""Merge a chain of Reshape, Flatten, Squeeze and Unsqueeze into one Reshape, or none where it returns.

    Reshape(Reshape(x, s), t) = Reshape(x, t)

Before:
    Squeeze(Unsqueeze(Flatten(x)))
After:
    Reshape(x, shape of the result); x itself where that is the shape of x

Weights: the shape, int64. A chain of n becomes one in n - 1 applications.

Does not apply when:
    - the value in between is read elsewhere too and the result is not x itself: nothing would be saved,
    - the shape of the result is not fixed, or holds a 0 (which Reshape reads as "keep").

Source: ONNX Reshape-14, Flatten-13, Squeeze-13, Unsqueeze-13.
"""

from __future__ import annotations

import onnx_ir

from edgeopt.graph.editing import ELSEWHERE, before, is_shared, made_reshape, replace
from edgeopt.graph.flops import sizes
from edgeopt.graph.matching import Found, Refusal, bypass
from edgeopt.graph.rewrites import Example

ORDER = 21
EXACT = True
RTOL = 0.0

_RESHAPING = frozenset({"Reshape", "Flatten", "Squeeze", "Unsqueeze"})


class MergeReshapes:
    """Two operators in a row that only change the shape."""

    def find(self, model: onnx_ir.Model, node: onnx_ir.Node) -> Found | Refusal | None:
        """See `edgeopt.graph.rewrites.Rule`."""
        if node.op_type not in _RESHAPING or node.domain:
            return None
        first = before(node.inputs[0], _RESHAPING)
        x = first.inputs[0] if first is not None else None
        if first is None or x is None:
            return None
        target = sizes(node.outputs[0])
        if target is None or 0 in target:
            return Refusal("the shape of the result is not fixed")
        if sizes(x) == target:
            return bypass(node, x)
        if is_shared(first.outputs[0]):
            return ELSEWHERE
        name = str(node.outputs[0].name)
        return Found(
            (first, node),
            lambda: replace(model.graph, node, [made_reshape(model.graph, x, target, name)]),
        )


RULES = (MergeReshapes(),)


def _example(
    body: str, becomes: tuple[str, ...] | None, reason: str = "", out: str = "float[2,1,12] y"
) -> Example:
    return Example(
        f"""<ir_version: 8, opset_import: ["": 17]> agraph (float[2,3,4] x) => ({out})
        <int64[2] flat = {{2, 12}}, int64[1] axis = {{1}}> {{ {body} }}""",
        becomes,
        reason,
    )


EXAMPLES = (
    _example("a = Reshape(x, flat) b = Unsqueeze(a, axis) y = Relu(b)", ("Reshape", "Relu")),
    _example("a = Flatten(x) b = Unsqueeze(a, axis) c = Squeeze(b, axis) d = Unsqueeze(c, axis) y = Relu(d)",
             ("Reshape", "Relu")),
    _example("a = Unsqueeze(x, axis) b = Squeeze(a, axis) n = Neg(a) y = Relu(b)",
             ("Unsqueeze", "Neg", "Relu"), out="float[2,3,4] y, float[2,1,3,4] n"),
    _example("a = Reshape(x, flat) b = Unsqueeze(a, axis) n = Neg(a) y = Relu(b)", None, "elsewhere",
             out="float[2,1,12] y, float[2,12] n"),
    Example(
        """<ir_version: 8, opset_import: ["": 17]>
        agraph (float[2,3] x) => (float[0,1,3] y)
          <int64[1] none = {0}, int64[1] axis = {1}, int64[1] last = {3}>
        { e = Slice(x, none, none, none)
          a = Unsqueeze(e, axis)
          b = Unsqueeze(a, last)
          c = Squeeze(b, last)
          y = Relu(c) }""",
        becomes=None,
        reason="not fixed",
    ),
)  # fmt: skip
