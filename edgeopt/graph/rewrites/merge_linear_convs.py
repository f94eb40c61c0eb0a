"""Make two convolutions in a row, with nothing between them, one.

    W2 (W1 x + b1) + b2 = (W2 W1) x + (W2 b1 + b2)

Before:
    Conv(Conv(x, W1, b1), W2, b2), at least one of them with a 1 x 1 kernel
After:
    Conv(x, W, b), with the strides, dilations and pads of the larger kernel

Weights: W1 is (K, C/g, *kernel), W2 is (M, K, *kernel), W is (M, C, *kernel) with one of the kernels 1 x 1;
groups of the first are written out with zeros. Computed in float64, stored in the type of W2.

Does not apply when:
    - it would cost more operations (a bottleneck between two wide layers is narrow on purpose),
    - both kernels are larger than 1 x 1, or the second convolution has groups,
    - the second pads with zeros, but b1 is not 0: the padding would become b1,
    - a weight is not constant, or W is not finite in its type,
    - the value in between is read elsewhere too, or is an output of the model.

Source: ONNX Conv-11; linearity.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial

import numpy as np
import onnx_ir
from numpy.typing import NDArray

from edgeopt.graph.constants import add_initializer
from edgeopt.graph.convolution import Doubles, Geometry, Weights
from edgeopt.graph.flops import elements, node_flops
from edgeopt.graph.matching import SHARED, Found, NodeRule, Refusal, before, chain, is_shared, made
from edgeopt.graph.rewrites import Example

ORDER = 64
EXACT = True
RTOL = 1e-4


def look(graph: onnx_ir.Graph, node: onnx_ir.Node) -> Found | Refusal | None:
    """A Conv of a Conv."""
    first = before(node, 0, ("Conv",))
    if first is None:
        return None
    inner, outer = Geometry.of(first), Geometry.of(node)
    if inner is None or outer is None:
        return Refusal("its padding depends on a shape that is not known")
    if not (inner.is_pointwise or outer.is_pointwise) or outer.group != 1:
        return Refusal("neither kernel is 1 x 1 with stride 1, or the second convolution has groups")
    if is_shared(first.outputs[0]):
        return SHARED
    one, two = Weights.of(first), Weights.of(node)
    if one is None or two is None:
        return Refusal("a weight is not constant")
    if outer.is_padded and one.bias.any():
        return Refusal("the second pads with zeros, which would become the bias of the first")
    channels = one.weight.shape[1] * inner.group
    taps = int(np.prod(outer.kernel if inner.is_pointwise else inner.kernel))
    written, have = elements(node.outputs[0]), [node_flops(first), node_flops(node)]
    if written is None or have[0] is None or have[1] is None:
        return Refusal("a shape is not known")
    if 2 * written * channels * taps > have[0] + have[1]:
        return Refusal("one convolution would cost more operations than the two")
    with np.errstate(all="ignore"):
        weight, bias = _product(_without_groups(one.weight, inner.group), one.bias, two)
        stored = two.stored(weight), two.stored(bias)
    if stored[0] is None or stored[1] is None:
        return Refusal("the product is not finite in its type")
    geometry = outer if inner.is_pointwise else inner
    return chain(graph, (first, node), partial(_build, graph, first, node, geometry, (stored[0], stored[1])))


def _without_groups(weight: Doubles, group: int) -> Doubles:
    """(K, C/group, *kernel) as (K, C, *kernel), with zeros."""
    if group == 1:
        return weight
    rows, members = weight.shape[0] // group, weight.shape[1]
    full = np.zeros((weight.shape[0], members * group, *weight.shape[2:]))
    for index in range(group):
        own = slice(index * rows, (index + 1) * rows)
        full[own, index * members : (index + 1) * members] = weight[own]
    return full


def _product(first: Doubles, bias: Doubles, second: Weights) -> tuple[Doubles, Doubles]:
    """One of the two has a kernel of ones, so that its taps broadcast."""
    places = second.weight.reshape(*second.weight.shape[:2], -1)  # (M, K, taps or 1)
    rows = first.reshape(*first.shape[:2], -1)  # (K, C, 1 or taps)
    kernel = first.shape[2:] if rows.shape[2] > 1 else second.weight.shape[2:]
    total = np.einsum("mkt,kct->mct", *_same_taps(places, rows)).reshape(len(places), rows.shape[1], *kernel)
    return total, second.bias + places.sum(2) @ bias


def _same_taps(one: Doubles, other: Doubles) -> tuple[Doubles, Doubles]:
    taps = max(one.shape[2], other.shape[2])
    return np.broadcast_to(one, (*one.shape[:2], taps)), np.broadcast_to(other, (*other.shape[:2], taps))


def _build(
    graph: onnx_ir.Graph,
    first: onnx_ir.Node,
    node: onnx_ir.Node,
    geometry: Geometry,
    stored: tuple[NDArray[np.generic], NDArray[np.generic]],
) -> Sequence[onnx_ir.Node]:
    name = node.outputs[0].name
    weight, bias = (
        add_initializer(graph, f"{name}_{kind}", array)
        for kind, array in zip(("weight", "bias"), stored, strict=True)
    )
    return [made("Conv", [first.inputs[0], weight, bias], geometry.attributes() | {"group": 1})]


RULES = (NodeRule(look, ("Conv",)),)

_KERNEL = ", ".join(str(number % 5 - 2) for number in range(18))


def _example(body: str, becomes: tuple[str, ...] | None, reason: str = "", out: str = "1,2,4,4") -> Example:
    return Example(
        f"""<ir_version: 8, opset_import: ["": 17]>
        agraph (float[1,2,4,4] x) => (float[{out}] y)
          <float[2,2,1,1] w = {{1, 2, 3, 4}}, float[2,2,1,1] v = {{-1, 2, 0.5, 4}}, float[2] b = {{0.5, -1}},
           float[1,2,3,3] k = {{{_KERNEL}}}, float[1,2,1,1] down = {{1, 2}},
           float[2,1,1,1] up = {{3, -2}},
           float[2,1,3,3] d = {{{_KERNEL}}}>
        {{ {body} }}""",
        becomes,
        reason,
    )


_SAME = "pads = [1, 1, 1, 1]"

EXAMPLES = (
    _example("h = Conv(x, w, b) y = Conv(h, v, b)", ("Conv",)),
    _example(f"h = Conv(x, w) y = Conv <{_SAME}, strides = [2, 2]> (h, k)", ("Conv",), out="1,1,2,2"),
    _example(f"h = Conv(x, w) y = Conv <{_SAME}> (h, k)", ("Conv",), out="1,1,4,4"),
    _example(f"h = Conv <{_SAME}> (x, k) y = Conv(h, up, b)", None, "more operations"),
    _example(f"h = Conv <{_SAME}, group = 2> (x, d, b) y = Conv(h, down)", ("Conv",), out="1,1,4,4"),
    _example("h = Conv(x, w, b) y = Conv(h, k)", ("Conv",), out="1,1,2,2"),
    _example("h = Conv(x, down) y = Conv(h, up)", ("Conv",)),
    _example(f"h = Conv(x, w, b) y = Conv <{_SAME}> (h, k)", None, "bias of the first", out="1,1,4,4"),
    _example(f"h = Conv(x, w) y = Conv <{_SAME}, group = 2> (h, d)", None, "groups"),
    _example("h = Conv(x, w) a = Conv(h, v) y = Add(a, h)", None, "elsewhere"),
)
