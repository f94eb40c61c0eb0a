"""Compute a convolution only where a strided 1 x 1 convolution after it reads it.

    every s-th place of f(W1 x) needs W1 x at every s-th place only

Before:
    Conv<1 x 1, stride s>(f(Conv<stride t>(x, W1))), f an element-wise activation, or none
After:
    Conv<1 x 1, stride 1>(f(Conv<stride t s>(x, W1)))

Weights: unchanged.

Does not apply when:
    - the kernel of the second is not 1 x 1, or it pads, or its stride is 1,
    - a value in between is read elsewhere too, or is an output of the model,
    - the padding of the first is computed from a shape that is not known.

Source: ONNX Conv-11 (size of the output: floor((size + pads - reach) / stride) + 1: strides multiply).
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial

import onnx_ir

from edgeopt.graph.convolution import Geometry
from edgeopt.graph.flops import sizes
from edgeopt.graph.matching import SHARED, Found, NodeRule, Refusal, before, chain, is_shared, made
from edgeopt.graph.rewrites import Example

ORDER = 37
EXACT = True
RTOL = 1e-5

_ACTIVATIONS = (
    "Relu", "LeakyRelu", "Clip", "Sigmoid", "HardSigmoid", "HardSwish", "Tanh", "Elu", "Selu", "Softplus",
)  # fmt: skip


def look(graph: onnx_ir.Graph, node: onnx_ir.Node) -> Found | Refusal | None:
    """A strided Conv after a Conv."""
    strides = node.attributes.get_ints("strides", ())
    if all(step == 1 for step in strides):
        return None
    middle = before(node, 0, ("Conv", *_ACTIVATIONS))
    first = before(middle, 0, ("Conv",)) if middle is not None and middle.op_type != "Conv" else middle
    if middle is None or first is None:
        return None
    outer, inner = Geometry.of(node), Geometry.of(first)
    if outer is None or any(taps != 1 for taps in outer.kernel) or outer.is_padded:
        return Refusal("the kernel of the strided Conv is not 1 x 1, or it pads")
    if inner is None:
        return Refusal("the padding of the first is computed from a shape that is not known")
    if is_shared(first.outputs[0]) or is_shared(middle.outputs[0]):
        return SHARED
    if any(value is not None and not value.is_initializer() for value in middle.inputs[1:]):
        return Refusal("a weight or a bound is computed")
    old = (first, node) if middle is first else (first, middle, node)
    return chain(graph, old, partial(_build, old, inner, outer))


def _build(old: Sequence[onnx_ir.Node], inner: Geometry, outer: Geometry) -> Sequence[onnx_ir.Node]:
    first, *middle, node = old
    whole, places = sizes(first.outputs[0]), sizes(node.outputs[0])
    shape = (*whole[:2], *places[2:]) if whole is not None and places is not None else None
    strides = [one * other for one, other in zip(inner.strides, outer.strides, strict=True)]
    dtype = node.outputs[0].dtype
    new = [made("Conv", first.inputs, inner.attributes() | {"strides": strides}, shape, dtype)]
    for each in middle:
        new.append(made(each.op_type, [new[-1].outputs[0], *each.inputs[1:]], each.attributes, shape, dtype))
    attributes = outer.attributes() | {"strides": [1] * len(outer.strides)}
    return [*new, made("Conv", [new[-1].outputs[0], *node.inputs[1:]], attributes)]


RULES = (NodeRule(look, ("Conv",)),)

_NUMBERS = ", ".join(str(number % 7 - 3) for number in range(36))


def _example(body: str, becomes: tuple[str, ...] | None, reason: str = "", out: str = "1,2,3,3") -> Example:
    return Example(
        f"""<ir_version: 8, opset_import: ["": 17]>
        agraph (float[1,2,6,6] x) => (float[{out}] y)
          <float[2,2,3,3] k = {{{_NUMBERS}}}, float[2,2,1,1] w = {{1, 2, 3, 4}}, float[2] b = {{0.5, -1}}>
        {{ {body} }}""",
        becomes,
        reason,
    )


_SAME = "pads = [1, 1, 1, 1]"

EXAMPLES = (
    _example(
        f"c = Conv <{_SAME}> (x, k, b) r = Relu(c) y = Conv <strides = [2, 2]> (r, w)",
        ("Conv", "Relu", "Conv"),
    ),
    _example("c = Conv(x, k, b) y = Conv <strides = [3, 2]> (c, w, b)", ("Conv", "Conv"), out="1,2,2,2"),
    _example(
        'c = Conv <auto_pad = "SAME_LOWER", strides = [2, 1]> (x, k) y = Conv <strides = [2, 2]> (c, w)',
        ("Conv", "Conv"),
        out="1,2,2,3",
    ),
    _example(f"c = Conv(x, w) y = Conv <{_SAME}, strides = [2, 2]> (c, k)", None, "1 x 1"),
    _example(
        "c = Conv(x, w, b) d = Conv <strides = [2, 2]> (c, w) m = GlobalMaxPool(c) y = Add(d, m)",
        None,
        "elsewhere",
    ),
    _example("c = Conv(x, w) y = Conv(c, w)", None, out="1,2,6,6"),
)
