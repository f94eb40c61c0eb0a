"""Write the product of one row with a constant matrix as a 1 x 1 convolution.

    x (1, K) times W (K, N) + b = Conv(x (1, K, 1, 1), W' (N, K, 1, 1), b)

Before:
    Gemm(x, W, b) with x (1, K)
After:
    Reshape(Conv(Reshape(x), W', b))

Weights: W is (K, N), or (N, K) with transB, scaled by alpha; W' is (N, K, 1, 1); b (N,), (1, N) or one
number, scaled by beta. Gemms that share W share W'.

Does not apply when:
    - x has more than one row (a product of matrices is what Gemm is best at) or is transposed,
    - a weight is not constant, or a shape is not known,
    - the Gemm was made of a Conv (conv_to_gemm).

onnxruntime computes such a Conv as matrix times vector. On x86 with float32 that is 1.4 times as fast as its
Gemm at 25,000 inputs and 1,000 outputs, and as fast at 1,000 and 240 (paired runs, one thread).

Source: ONNX Conv-11, Gemm-13.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial

import numpy as np
import onnx_ir
from numpy.typing import NDArray

from edgeopt.graph.constants import add_initializer, same_initializer
from edgeopt.graph.convolution import FLOATS, Weights, per_channel
from edgeopt.graph.flops import sizes
from edgeopt.graph.matching import Found, NodeRule, Refusal, chain, made
from edgeopt.graph.rewrites import Example
from edgeopt.graph.rewriting import MADE_BY

ORDER = 70
EXACT = True
SITUATIONAL = True
RTOL = 1e-4

_SMALLEST = 64
"""A product with fewer weights costs less than the two Reshapes."""


def look(graph: onnx_ir.Graph, node: onnx_ir.Node) -> Found | Refusal | None:
    """A Gemm of one row."""
    read, written = sizes(node.inputs[0]), sizes(node.outputs[0])
    if read is None or written is None or node.outputs[0].dtype not in FLOATS:
        return None
    if read[0] != 1 or node.attributes.get_int("transA", False):
        return Refusal("it has more than one row")
    if node.metadata_props.get(MADE_BY) in ("conv_to_gemm", "squeeze_excite_to_gemm"):
        return Refusal("it was made of a Conv")
    weights = Weights.of(node)
    given = node.inputs[2] if len(node.inputs) > 2 else None
    bias = np.zeros(written[1]) if given is None else per_channel(given, 2, written[1])
    if weights is None or bias is None:
        return Refusal("a weight is not constant")
    if weights.weight.size < _SMALLEST:
        return Refusal("it is too small to gain")
    weight = weights.weight if node.attributes.get_int("transB", False) else weights.weight.T
    alpha, beta = (node.attributes.get_float(name, 1.0) for name in ("alpha", "beta"))
    stored = weights.stored(alpha * weight[:, :, None, None]), weights.stored(beta * bias)
    if stored[0] is None or stored[1] is None:
        return Refusal("a scaled weight is not finite in its type")
    return chain(graph, (node,), partial(_build, graph, node, (stored[0], stored[1]), read, written))


def _build(
    graph: onnx_ir.Graph,
    node: onnx_ir.Node,
    stored: tuple[NDArray[np.generic], NDArray[np.generic]],
    read: Sequence[int],
    written: Sequence[int],
) -> Sequence[onnx_ir.Node]:
    name, dtype, given = node.outputs[0].name, node.outputs[0].dtype, [*node.inputs, None][1:3]
    # Named after what they are made of: the steps of an unrolled loop share them.
    weight, bias = (
        same_initializer(graph, f"{name if value is None else value.name}_{kind}", array)
        for kind, value, array in zip(("conv", "conv_bias"), given, stored, strict=True)
    )
    place = add_initializer(graph, f"{name}_place", np.asarray((*read, 1, 1), np.int64))
    row = add_initializer(graph, f"{name}_row", np.asarray(written, np.int64))
    first = made("Reshape", [node.inputs[0], place], {}, (*read, 1, 1), dtype)
    conv = made("Conv", [first.outputs[0], weight, bias], {"kernel_shape": [1, 1]}, (*written, 1, 1), dtype)
    return [first, conv, made("Reshape", [conv.outputs[0], row])]


RULES = (NodeRule(look, ("Gemm",)),)

_WEIGHTS = ", ".join(str(number % 7 - 3) for number in range(64))


def _example(rows: int, body: str, becomes: tuple[str, ...] | None, reason: str = "") -> Example:
    return Example(
        f"""<ir_version: 8, opset_import: ["": 17]>
        agraph (float[{rows},8] x, float[8,8] given) => (float[{rows},8] y)
          <float[8,8] w = {{{_WEIGHTS}}}, float[8] b = {{1, 2, 3, 4, 5, 6, 7, 8}}, float[1] c = {{0.5}}>
        {{ {body} }}""",
        becomes,
        reason,
    )


_CONV = ("Reshape", "Conv", "Reshape")

EXAMPLES = (
    _example(1, "y = Gemm(x, w, b)", _CONV),
    _example(1, "h = Gemm <alpha = 0.5, beta = 3.0, transB = 1> (x, w, c) y = Relu(h)", (*_CONV, "Relu")),
    _example(1, "y = Gemm(x, w)", _CONV),
    _example(2, "y = Gemm(x, w, b)", None, "more than one row"),
    _example(1, "y = Gemm(x, given, b)", None, "not constant"),
)
