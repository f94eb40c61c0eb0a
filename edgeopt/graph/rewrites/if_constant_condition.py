"""Put the branch that an If always takes in the place of the If.

    If(true, f, g) = f();   If(false, f, g) = g()

Before:
    If(c) <then_branch, else_branch>        c constant
After:
    the nodes of the branch

Weights: those of the branch become constants of the main graph.

Does not apply when:
    - the condition is computed,
    - the branch has more than 2,000 nodes,
    - a Range reads the result, which is no scalar (an invalid graph that runtimes run all the same).

Source: ONNX If-16.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial

import onnx_ir

from edgeopt.graph.constants import array_of
from edgeopt.graph.editing import breaks_range
from edgeopt.graph.inlining import put_in, take_out
from edgeopt.graph.matching import Found, Refusal
from edgeopt.graph.rewrites import Example

ORDER = 11
EXACT = True
RTOL = 0.0

MAX_NODES = 2_000


class InlineBranch:
    """An If whose answer is known."""

    def find(self, model: onnx_ir.Model, node: onnx_ir.Node) -> Found | Refusal | None:
        """See `edgeopt.graph.rewrites.Rule`."""
        if node.op_type != "If" or node.domain:
            return None
        condition = array_of(node.inputs[0])
        if condition is None or condition.size != 1:
            return Refusal("its condition is computed")
        branch = node.attributes["then_branch" if condition.all() else "else_branch"].as_graph()
        if len(branch) > MAX_NODES:
            return Refusal(f"its branch has {len(branch)} nodes")
        if any(breaks_range(output) for output in node.outputs):
            return Refusal("Range reads its result, which is no scalar")
        return Found((node,), partial(_inline, model, node, branch))


def _inline(model: onnx_ir.Model, node: onnx_ir.Node, branch: onnx_ir.Graph) -> Sequence[onnx_ir.Node]:
    nodes, outputs = take_out(model.graph, branch)
    return put_in(model, node, nodes, outputs)


RULES = (InlineBranch(),)


def _example(condition: str, becomes: tuple[str, ...] | None, reason: str = "") -> Example:
    return Example(
        f"""<ir_version: 8, opset_import: ["": 17]>
        agraph (float[3] x, bool c) => (float[3] y) <bool yes = {{1}}, bool no = {{0}}>
        {{ n = Neg(x)
           r = If({condition}) <
             then_branch = then () => (t) {{ k = Constant <value_float = 2.0> () s = Mul(n, k) t = Sin(s) }},
             else_branch = other () => (e) {{ e = Identity(n) }}>
           y = Relu(r) }}""",
        becomes,
        reason,
    )


EXAMPLES = (
    _example("yes", ("Neg", "Mul", "Sin", "Relu")),
    _example("no", ("Neg", "Identity", "Relu")),
    _example("c", None, "computed"),
)
