"""Replace hard swish by Relu: not exact.

    x clip(x / 6 + 1/2, 0, 1) is about max(x, 0): off by at most 0.375, at 1.5 and -1.5; equal beyond 3

Before:
    HardSwish(x)
After:
    Relu(x)

Weights: none.

Does not apply when:
    - the result is an output of the model, or the numbers are not floats.

The accuracy gate judges it, place by place. Runtimes fuse Relu into the Conv before it: between two Convs
this is 1.3 times as fast in onnxruntime (x86, 32 channels of 56 x 56, paired runs).

Source: Howard et al. 2019, Searching for MobileNetV3, section 5.2; ONNX HardSwish-14.
"""

from __future__ import annotations

import onnx_ir

from edgeopt.graph.convolution import FLOATS
from edgeopt.graph.matching import Found, NodeRule, Refusal, chain, made
from edgeopt.graph.rewrites import Example

ORDER = 88
EXACT = False
RTOL = 1.0


def look(graph: onnx_ir.Graph, node: onnx_ir.Node) -> Found | Refusal | None:
    """A HardSwish."""
    if node.outputs[0].dtype not in FLOATS:
        return None
    if node.outputs[0].is_graph_output():
        return Refusal("its result is an output of the model")
    return chain(graph, (node,), lambda: [made("Relu", [node.inputs[0]])])


RULES = (NodeRule(look, ("HardSwish",)),)

HEAD = '<ir_version: 8, opset_import: ["": 17]> agraph (float[2,8] x) => (float[2,8] y) '

EXAMPLES = (
    Example(HEAD + "{ s = HardSwish(x) y = Neg(s) }", becomes=("Relu", "Neg")),
    Example(HEAD + "{ y = HardSwish(x) }", becomes=None, reason="output of the model"),
)
