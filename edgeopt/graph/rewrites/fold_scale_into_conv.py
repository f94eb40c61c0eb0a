"""Fold constants that are multiplied, divided, added or subtracted per channel into the convolution before.

    f * (W x + b) = (f W) x + f b;   (W x + b) + c = W x + (b + c)

Before:
    Mul, Div, Add or Sub of (Conv(x, W, b), c), also ConvTranspose and Gemm
After:
    Conv(x, W', b')

Weights: Conv W is (M, C/group, *kernel), scaled along axis 0; ConvTranspose W is (C, M/group, *kernel),
scaled per group along axis 1; Gemm W is (K, N), or (N, K) with transB. c is one number or one per output
channel. Computed in float64, stored in the type of W.

Does not apply when:
    - a weight is not constant, or c is not constant or varies along another axis than the channels,
    - c is divided by the result,
    - the value in between is read elsewhere too, or is an output of the model,
    - Gemm scales its own bias (beta other than 1),
    - a folded weight is not finite in its type.

Source: ONNX Conv-11, ConvTranspose-11, Gemm-13; linearity.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial

import numpy as np
import onnx_ir

from edgeopt.graph.constants import add_initializer
from edgeopt.graph.convolution import Doubles, Weights, per_channel
from edgeopt.graph.flops import sizes
from edgeopt.graph.matching import SHARED, Found, NodeRule, Refusal, before, chain, is_shared, made
from edgeopt.graph.rewrites import Example

ORDER = 61  # after the fusions, whose patterns have scales in them
EXACT = True
RTOL = 1e-4

_LINEAR = ("Conv", "ConvTranspose", "Gemm")


def look(graph: onnx_ir.Graph, node: onnx_ir.Node) -> Found | Refusal | None:
    """An element-wise operation on a product's result."""
    position = next((i for i in (0, 1) if before(node, i, _LINEAR) is not None), None)
    product = None if position is None else before(node, position, _LINEAR)
    if position is None or product is None or len(node.inputs) != 2:
        return None
    shape = sizes(product.outputs[0])
    if shape is None or sizes(node.outputs[0]) != shape:
        return Refusal("a shape is not known, or the operation changes it")
    constant = per_channel(node.inputs[1 - position], len(shape), shape[1])
    if constant is None:
        return None  # a residual connection or a gate: not of this kind
    if node.op_type == "Div" and position == 1:
        return Refusal("the result is what is divided by")
    if is_shared(product.outputs[0]):
        return SHARED
    if product.op_type == "Gemm" and product.attributes.get_float("beta", 1.0) != 1.0:
        return Refusal("Gemm scales its own bias")
    weights = _weights(product, shape[1])
    if weights is None:
        return Refusal("a weight is not constant")
    with np.errstate(all="ignore"):
        scale, shift = _effect(node.op_type, position, constant)
        weight = weights.stored(weights.weight * _along_outputs(scale, product, weights.weight.shape))
        bias = weights.stored(weights.bias * scale + shift)
    if weight is None or bias is None:
        return Refusal("a folded weight is not finite in its type")
    return chain(graph, (product, node), partial(_build, graph, product, node, weight, bias))


def _effect(operator: str, position: int, constant: Doubles) -> tuple[Doubles, Doubles]:
    """What the result is multiplied by, and what is then added."""
    ones, zeros = np.ones_like(constant), np.zeros_like(constant)
    if operator == "Mul":
        return constant, zeros
    if operator == "Div":
        return 1 / constant, zeros
    if operator == "Add":
        return ones, constant
    return (ones, -constant) if position == 0 else (-ones, constant)


def _weights(product: onnx_ir.Node, channels: int) -> Weights | None:
    """Also of Gemm, whose bias broadcasts."""
    given = product.inputs[2] if len(product.inputs) > 2 else None
    if product.op_type == "Gemm" and given is not None and per_channel(given, 2, channels) is None:
        return None
    found = Weights.of(product)
    if found is None or product.op_type != "Gemm":
        return found
    bias = np.zeros(channels) if given is None else np.broadcast_to(found.bias.reshape(-1), (channels,))
    return Weights(found.weight, bias, found.dtype)


def _along_outputs(scale: Doubles, product: onnx_ir.Node, shape: Sequence[int]) -> Doubles:
    """`scale` (M,) in the shape that scales the output channels of a weight of `shape`."""
    if product.op_type == "Conv":
        return scale.reshape(-1, *[1] * (len(shape) - 1))
    if product.op_type == "Gemm":
        return scale.reshape(-1, 1) if product.attributes.get_int("transB", 0) else scale
    group = product.attributes.get_int("group", 1) or 1
    rows = np.repeat(scale.reshape(group, -1), shape[0] // group, axis=0)  # (C, M/group)
    return rows.reshape(*shape[:2], *[1] * (len(shape) - 2))


def _build(
    graph: onnx_ir.Graph,
    product: onnx_ir.Node,
    node: onnx_ir.Node,
    weight: np.ndarray[tuple[int, ...], np.dtype[np.generic]],
    bias: np.ndarray[tuple[int, ...], np.dtype[np.generic]],
) -> Sequence[onnx_ir.Node]:
    name = node.outputs[0].name
    inputs = [
        product.inputs[0],
        add_initializer(graph, f"{name}_weight", weight),
        add_initializer(graph, f"{name}_bias", bias),
    ]
    return [made(product.op_type, inputs, product.attributes)]


RULES = (NodeRule(look, ("Mul", "Div", "Add", "Sub")),)


def _example(body: str, becomes: tuple[str, ...] | None, reason: str = "") -> Example:
    return Example(
        f"""<ir_version: 8, opset_import: ["": 17]>
        agraph (float[1,2,3,3] x, float[2,2] u) => (float[1,2,3,3] y, float[2,2] z)
          <float[2,2,1,1] w = {{1, 2, 3, 4}}, float[2] b = {{0.5, -1}}, float[2,1,1] c = {{2, -4}},
           float two = {{2}}, float[2,1,1,1] k = {{3, -2}}, float[2,2] m = {{1, 2, 3, 4}},
           float[2] row = {{2, -3}}, float[3] line = {{1, 2, 3}}, float zero = {{0}}>
        {{ {body} }}""",
        becomes,
        reason,
    )


EXAMPLES = (
    _example("h = Conv(x, w, b) i = Mul(h, c) y = Sub(two, i) z = Relu(u)", ("Conv", "Relu")),
    _example("h = Conv <group = 2> (x, k) i = Add(c, h) y = Div(i, c) z = Relu(u)", ("Conv", "Relu")),
    _example("h = ConvTranspose(x, w, b) y = Mul(c, h) z = Relu(u)", ("ConvTranspose", "Relu")),
    _example(
        "y = Relu(x) g = Gemm <alpha = 0.5, transB = 1> (u, m, row) h = Mul(g, row) z = Sub(h, two)",
        ("Relu", "Gemm"),
    ),
    _example("h = Conv(x, w) y = Mul(h, c) r = GlobalMaxPool(h) z = Relu(u)", None, "elsewhere"),
    _example("h = Conv(x, w) y = Div(two, h) z = Relu(u)", None, "divided by"),
    _example("h = Conv(x, w) y = Div(h, zero) z = Relu(u)", None, "finite"),
    _example("h = Conv(x, w) y = Mul(h, line) z = Relu(u)", None),
    _example("y = Relu(x) g = Gemm <beta = 2.0> (u, m, row) z = Mul(g, row)", None, "own bias"),
)
