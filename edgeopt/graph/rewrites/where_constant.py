"""Replace a Where whose condition is constant and the same everywhere, or whose two branches are one value.

    Where(true, a, b) = a;   Where(false, a, b) = b;   Where(c, a, a) = a

Before:
    Where(c, a, b)          c constant
After:
    a, or b

Weights: c, of any shape that does not enlarge the result.

Does not apply when:
    - the condition is computed, or differs from place to place,
    - broadcasting enlarges the branch that is taken, or a shape is not known.

Source: ONNX Where-16.
"""

from __future__ import annotations

import onnx_ir

from edgeopt.graph.constants import array_of
from edgeopt.graph.flops import sizes
from edgeopt.graph.matching import Found, Refusal, bypass
from edgeopt.graph.rewrites import Example

ORDER = 28
EXACT = True
RTOL = 0.0


class WhereConstant:
    """A Where whose answer is known."""

    def find(self, model: onnx_ir.Model, node: onnx_ir.Node) -> Found | Refusal | None:  # noqa: ARG002
        """See `edgeopt.graph.rewrites.Rule`."""
        if node.op_type != "Where" or node.domain:
            return None
        condition, then, otherwise = node.inputs
        taken = then
        if then is not otherwise:
            known = array_of(condition)
            if known is None or known.size == 0 or known.all() != known.any():
                return Refusal("its condition is computed, or differs from place to place")
            taken = then if known.all() else otherwise
        shape = sizes(taken)
        if taken is None or shape is None or shape != sizes(node.outputs[0]):
            return Refusal("broadcasting enlarges the branch that is taken, or a shape is not known")
        return bypass(node, taken)


RULES = (WhereConstant(),)


def _example(body: str, becomes: tuple[str, ...] | None, reason: str = "") -> Example:
    return Example(
        f"""<ir_version: 8, opset_import: ["": 17]> agraph (float[2,3] x, bool[2,3] m) => (float[2,3] y)
        <bool[1,3] all = {{1, 1, 1}}, bool[3] none = {{0, 0, 0}}, bool[3] some = {{0, 1, 0}},
         float zero = {{0}}>
        {{ {body} y = Relu(w) }}""",
        becomes,
        reason,
    )


EXAMPLES = (
    _example("w = Where(all, x, zero)", ("Relu",)),
    _example("n = Neg(x) w = Where(none, x, n)", ("Neg", "Relu")),
    _example("w = Where(m, x, x)", ("Relu",)),
    _example("w = Where(some, x, zero)", None, "place to place"),
    _example("w = Where(m, x, zero)", None, "computed"),
    _example("w = Where(none, x, zero)", None, "enlarges"),
)
