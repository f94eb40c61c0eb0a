"""Merge runs of Relu and Clip, and drop those that cut nothing.

    clip(clip(x, a, b), c, d) = clip(x, clip(a, c, d), clip(b, c, d));   Relu(x) = clip(x, 0, inf)

Before:
    Relu or Clip of the result of Relu or Clip, or of Sigmoid, Softmax, HardSigmoid (0 to 1), Abs, Sqrt, Exp
    (0 to inf)
After:
    one Relu or Clip, or none

Weights: the bounds are numbers.

Does not apply when:
    - a bound is not constant,
    - the value in between is read elsewhere too, or is an output of the model, and the second one cuts,
    - the numbers are not float32 (a bound would have to be of another type).

Source: ONNX Clip-6 (bounds are attributes), Clip-11, Clip-13, Relu-14.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial

import numpy as np
import onnx_ir

from edgeopt.graph.constants import add_initializer, scalar_of
from edgeopt.graph.matching import SHARED, Found, NodeRule, Refusal, before, bypass, chain, is_shared, made
from edgeopt.graph.rewrites import Example

ORDER = 22
EXACT = True
RTOL = 0.0

_INF = float("inf")
_CUTS = ("Relu", "Clip")
_RANGES = {
    "Sigmoid": (0.0, 1.0), "Softmax": (0.0, 1.0), "HardSigmoid": (0.0, 1.0), "Abs": (0.0, _INF),
    "Sqrt": (0.0, _INF), "Exp": (0.0, _INF),
}  # fmt: skip
"""What an operator can yield; NaN passes through all of these and through a cut."""

_FIRST_WITH_INPUTS = 11


def look(graph: onnx_ir.Graph, node: onnx_ir.Node) -> Found | Refusal | None:
    """The second of two cuts."""
    first = before(node, 0, (*_CUTS, *_RANGES))
    if first is None or node.outputs[0].dtype not in (onnx_ir.DataType.FLOAT, None):
        return None
    outer = _bounds(node)
    inner = _bounds(first) if first.op_type in _CUTS else _RANGES[first.op_type]
    if outer is None or inner is None:
        return Refusal("a bound is not constant")
    if outer[0] <= inner[0] and inner[1] <= outer[1]:
        return bypass(node, first.outputs[0])
    if first.op_type not in _CUTS:
        return None
    if is_shared(first.outputs[0]):
        return SHARED
    low, high = (float(np.clip(bound, *outer)) for bound in inner)
    return chain(graph, (first, node), partial(_build, graph, first, node, low, high))


def _bounds(node: onnx_ir.Node) -> tuple[float, float] | None:
    """Lower and upper; None where one is computed, or they are the wrong way round."""
    if node.op_type == "Relu":
        return 0.0, _INF
    found = []
    for position, name, default in ((1, "min", -_INF), (2, "max", _INF)):
        given = node.inputs[position] if len(node.inputs) > position else None
        bound = node.attributes.get_float(name, default) if given is None else scalar_of(given)
        if bound is None:
            return None
        found.append(bound)
    low, high = found
    return (low, high) if low <= high else None


def _build(
    graph: onnx_ir.Graph, first: onnx_ir.Node, node: onnx_ir.Node, low: float, high: float
) -> Sequence[onnx_ir.Node]:
    x, name = first.inputs[0], node.outputs[0].name
    if (low, high) == (0.0, _INF):
        return [made("Relu", [x])]
    if graph.opset_imports.get("", 1) < _FIRST_WITH_INPUTS:
        limits = {"min": low, "max": high}
        return [made("Clip", [x], {key: bound for key, bound in limits.items() if np.isfinite(bound)})]
    bounds = [
        add_initializer(graph, f"{name}_{end}", np.asarray(bound, np.float32)) if np.isfinite(bound) else None
        for end, bound in (("min", low), ("max", high))
    ]
    return [made("Clip", [x, *bounds])]


RULES = (NodeRule(look, _CUTS),)


def _example(body: str, becomes: tuple[str, ...] | None, reason: str = "") -> Example:
    return Example(
        f"""<ir_version: 8, opset_import: ["": 17]>
        agraph (float[2,8] x, float t) => (float[2,8] y)
          <float zero = {{0}}, float one = {{1}}, float six = {{6}}, float low = {{-0.5}}>
        {{ {body} }}""",
        becomes,
        reason,
    )


EXAMPLES = (
    _example("a = Relu(x) y = Clip(a, low, one)", ("Clip",)),
    _example("a = Clip(x, low, six) y = Clip(a, zero, one)", ("Clip",)),
    _example("a = Clip(x, low) y = Relu(a)", ("Relu",)),
    _example("a = Relu(x) b = Relu(a) y = Neg(b)", ("Relu", "Neg")),
    _example("a = Sigmoid(x) b = Clip(a, zero, one) y = Neg(b)", ("Sigmoid", "Neg")),
    Example(
        """<ir_version: 5, opset_import: ["": 10]>
        agraph (float[2,8] x) => (float[2,8] y)
        { a = Relu(x)
          b = Clip <min = -0.5, max = 0.5> (a)
          y = Neg(b) }""",
        becomes=("Clip", "Neg"),
    ),
    _example("a = Relu(x) b = Clip(a, zero, one) y = Add(a, b)", None, "elsewhere"),
    _example("a = Relu(x) y = Clip(a, zero, t)", None, "not constant"),
    _example("a = Tanh(x) y = Clip(a, zero, one)", None),
)
