"""Replace SiLU by hard swish: not exact.

    x / (1 + exp(-x)) is about x clip(x / 6 + 1/2, 0, 1), off by at most 0.15

Before:
    Mul(x, Sigmoid(x))
After:
    HardSwish(x), or Mul(x, HardSigmoid<alpha=1/6, beta=1/2>(x)) before opset 14

Weights: none.

Does not apply when:
    - the gate is read elsewhere too, or is an output of the model.

The accuracy gate judges it, place by place. On x86 onnxruntime computes SiLU faster (0.7 to 1.0 times as fast
after the change, paired runs); where exp is slow it is the other way round.

Source: Howard et al. 2019, Searching for MobileNetV3, section 5.2; ONNX HardSwish-14.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial

import onnx_ir

from edgeopt.graph.convolution import FLOATS
from edgeopt.graph.flops import sizes
from edgeopt.graph.matching import SHARED, Found, NodeRule, Refusal, before, chain, is_shared, made
from edgeopt.graph.rewrites import Example

ORDER = 86
EXACT = False
RTOL = 0.2

_FIRST_OPSET = 14


def look(graph: onnx_ir.Graph, node: onnx_ir.Node) -> Found | Refusal | None:
    """A product of a value and its Sigmoid."""
    for position in range(2):
        gate = before(node, position, ("Sigmoid",))
        value = node.inputs[1 - position]
        if gate is None or value is None or gate.inputs[0] is not value or value.dtype not in FLOATS:
            continue
        if is_shared(gate.outputs[0]):
            return SHARED
        return chain(graph, (gate, node), partial(_build, graph, value))
    return None


def _build(graph: onnx_ir.Graph, value: onnx_ir.Value) -> Sequence[onnx_ir.Node]:
    if graph.opset_imports.get("", 1) >= _FIRST_OPSET:
        return [made("HardSwish", [value])]
    gate = made("HardSigmoid", [value], {"alpha": 1 / 6, "beta": 0.5}, sizes(value), value.dtype)
    return [gate, made("Mul", [value, gate.outputs[0]])]


RULES = (NodeRule(look, ("Mul",)),)


def _example(body: str, becomes: tuple[str, ...] | None, reason: str = "", opset: int = 17) -> Example:
    return Example(
        f"""<ir_version: 8, opset_import: ["": {opset}]>
        agraph (float[2,8] x, float[2,8] u) => (float[2,8] y) {{ {body} }}""",
        becomes,
        reason,
    )


EXAMPLES = (
    _example("s = Sigmoid(x) y = Mul(x, s)", ("HardSwish",)),
    _example("s = Sigmoid(x) y = Mul(s, x)", ("HardSigmoid", "Mul"), opset=13),
    _example("s = Sigmoid(x) y = Mul(u, s)", None),
    _example("s = Sigmoid(x) m = Mul(x, s) y = Add(m, s)", None, "elsewhere"),
)
