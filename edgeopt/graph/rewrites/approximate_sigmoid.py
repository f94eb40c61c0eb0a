"""Replace Sigmoid by HardSigmoid: not exact.

    1 / (1 + exp(-x)) is about clip(x / 6 + 1/2, 0, 1), off by at most 0.07

Before:
    Sigmoid(x)
After:
    HardSigmoid<alpha=1/6, beta=1/2>(x)

Weights: none.

Does not apply when:
    - the result is an output of the model: a probability that is 0 or 1 says less than it should,
    - it is the gate of its own input (x * Sigmoid(x)): approximate_silu has a closer form.

The accuracy gate judges it, place by place. HardSigmoid alone is 1.4 to 1.5 times as fast as Sigmoid in
onnxruntime (x86, paired runs).

Source: Howard et al. 2019, Searching for MobileNetV3, section 5.2; ONNX HardSigmoid-6.
"""

from __future__ import annotations

import onnx_ir

from edgeopt.graph.convolution import FLOATS
from edgeopt.graph.matching import Found, NodeRule, Refusal, chain, made
from edgeopt.graph.rewrites import Example

ORDER = 86
EXACT = False
RTOL = 0.1


def look(graph: onnx_ir.Graph, node: onnx_ir.Node) -> Found | Refusal | None:
    """A Sigmoid."""
    value, output = node.inputs[0], node.outputs[0]
    if value is None or output.dtype not in FLOATS:
        return None
    if output.is_graph_output():
        return Refusal("its result is an output of the model")
    if any(use.node.op_type == "Mul" and value in use.node.inputs for use in output.uses()):
        return Refusal("it is the gate of its own input")
    return chain(graph, (node,), lambda: [made("HardSigmoid", [value], {"alpha": 1 / 6, "beta": 0.5})])


RULES = (NodeRule(look, ("Sigmoid",)),)

HEAD = '<ir_version: 8, opset_import: ["": 17]> agraph (float[2,8] x) => (float[2,8] y) '

EXAMPLES = (
    Example(HEAD + "{ s = Sigmoid(x) y = Neg(s) }", becomes=("HardSigmoid", "Neg")),
    Example(HEAD + "{ y = Sigmoid(x) }", becomes=None, reason="output of the model"),
    Example(HEAD + "{ s = Sigmoid(x) y = Mul(x, s) }", becomes=None, reason="own input"),
)
