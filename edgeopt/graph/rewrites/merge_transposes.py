"""Merge a chain of Transposes into one, or into none where they cancel.

    Transpose(Transpose(x, p), q) = Transpose(x, p[q])

Before:
    Transpose(Transpose(x, perm=p), perm=q)
After:
    Transpose(x, perm=p[q]); x itself where p[q] is the identity

Weights: none. A chain of n becomes one in n - 1 applications.

Does not apply when:
    - the value in between is read elsewhere too and the two do not cancel: nothing would be saved,
    - the rank is not known and a permutation is the default.

Source: ONNX Transpose-13.
"""

from __future__ import annotations

import onnx_ir

from edgeopt.graph.editing import ELSEWHERE, before, is_shared, made_transpose, permutation, replace
from edgeopt.graph.matching import Found, Refusal, bypass
from edgeopt.graph.rewrites import Example

ORDER = 21
EXACT = True
RTOL = 0.0


class MergeTransposes:
    """Two Transposes in a row."""

    def find(self, model: onnx_ir.Model, node: onnx_ir.Node) -> Found | Refusal | None:
        """See `edgeopt.graph.rewrites.Rule`."""
        if node.op_type != "Transpose" or node.domain:
            return None
        first = before(node.inputs[0], {"Transpose"})
        x = first.inputs[0] if first is not None else None
        if first is None or x is None:
            return None
        inner, outer = permutation(first), permutation(node)
        if inner is None or outer is None:
            return Refusal("the number of axes is not known")
        order = [inner[axis] for axis in outer]
        if order == sorted(order):
            return bypass(node, x)
        if is_shared(first.outputs[0]):
            return ELSEWHERE
        return Found((first, node), lambda: replace(model.graph, node, [made_transpose(x, order)]))


RULES = (MergeTransposes(),)


def _example(
    body: str, becomes: tuple[str, ...] | None, reason: str = "", out: str = "float[4,3,2] y"
) -> Example:
    head = f'<ir_version: 8, opset_import: ["": 17]> agraph (float[2,3,4] x) => ({out})'
    return Example(f"{head} {{ {body} }}", becomes, reason)


EXAMPLES = (
    _example(
        "a = Transpose <perm = [1, 0, 2]> (x) b = Transpose <perm = [2, 0, 1]> (a) y = Relu(b)",
        ("Transpose", "Relu"),
        out="float[4,3,2] y",
    ),
    _example(
        "a = Transpose <perm = [1, 2, 0]> (x) b = Transpose <perm = [1, 2, 0]> (a)"
        " c = Transpose <perm = [1, 2, 0]> (b) y = Relu(c)",
        ("Relu",),
        out="float[2,3,4] y",
    ),
    _example("a = Transpose (x) b = Transpose (a) c = Neg(a) y = Relu(b)", ("Transpose", "Neg", "Relu"),
             out="float[2,3,4] y, float[4,3,2] c"),
    _example("r = Relu(x) a = Transpose (r) y = Transpose (a)", ("Relu",), out="float[2,3,4] y"),
    _example(
        "a = Transpose <perm = [1, 0, 2]> (x) y = Transpose <perm = [2, 0, 1]> (a) c = Neg(a)",
        None,
        "elsewhere",
        out="float[4,3,2] y, float[3,2,4] c",
    ),
    _example("a = Transpose (x) y = Transpose (a)", None, "output of the model", out="float[2,3,4] y"),
    _example("y = Transpose (x)", None),
)  # fmt: skip
