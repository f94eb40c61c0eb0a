"""Compute a rising activation before a MaxPool instead of after it, where the runtime fuses it into a Conv.

    f(max(a, b)) = max(f(a), f(b))   for every rising f

Before:
    f(MaxPool(Conv(x))), f being Relu, LeakyRelu, Clip, Sigmoid, HardSigmoid or Tanh
After:
    MaxPool(f(Conv(x))), in which onnxruntime makes Conv and f one operator

Weights: none.

Does not apply when:
    - what is pooled is not the result of a Conv, with which f could be fused, or that is read elsewhere too,
    - f is not rising (a negative slope), or the indices of MaxPool are read,
    - the pooled value is read elsewhere too, or is an output of the model.

Source: ONNX MaxPool-12; onnxruntime, `conv_activation_fusion.cc` (the operators that it fuses).
"""

from __future__ import annotations

from functools import partial

import onnx_ir

from edgeopt.graph.matching import SHARED, Found, NodeRule, Refusal, before, chain, is_shared
from edgeopt.graph.rewrites import Example
from edgeopt.graph.rewrites.activation_past_maxpool import exchanged, not_rising

ORDER = 35
EXACT = True
RTOL = 1e-6

_FUSED = ("Relu", "LeakyRelu", "Clip", "Sigmoid", "HardSigmoid", "Tanh")


def look(graph: onnx_ir.Graph, node: onnx_ir.Node) -> Found | Refusal | None:
    """An activation of a MaxPool."""
    pool = before(node, 0, ("MaxPool",))
    if pool is None or len(pool.outputs) > 1:
        return None
    conv = before(pool, 0, ("Conv",))
    if conv is None:
        return Refusal("what is pooled is not the result of a Conv, into which it would be fused")
    if is_shared(conv.outputs[0]) or is_shared(pool.outputs[0]):
        return SHARED
    if (reason := not_rising(node)) is not None:
        return Refusal(reason)
    return chain(graph, (pool, node), partial(exchanged, pool, node))


RULES = (NodeRule(look, _FUSED),)


def _example(body: str, becomes: tuple[str, ...] | None, reason: str = "") -> Example:
    return Example(
        f"""<ir_version: 8, opset_import: ["": 17]>
        agraph (float[1,2,4,4] x) => (float[1,2,2,2] y) <float[2,2,1,1] w = {{1, 2, 3, 4}}>
        {{ {body} }}""",
        becomes,
        reason,
    )


_POOL = "MaxPool <kernel_shape = [2, 2], strides = [2, 2]>"

EXAMPLES = (
    _example(f"c = Conv(x, w) p = {_POOL} (c) y = Relu(p)", ("Conv", "Relu", "MaxPool")),
    _example(
        f"c = Conv(x, w) p = {_POOL} (c) r = LeakyRelu(p) y = Neg(r)", ("Conv", "LeakyRelu", "MaxPool", "Neg")
    ),
    _example(f"n = Neg(x) p = {_POOL} (n) y = Relu(p)", None, "not the result of a Conv"),
    _example(f"c = Conv(x, w) p = {_POOL} (c) r = Relu(p) y = Add(r, p)", None, "elsewhere"),
    _example(f"c = Conv(x, w) p = {_POOL} (c) y = LeakyRelu <alpha = -1.0> (p)", None, "slope"),
)
