"""Activation: a cheaper function in place of a costly one.

Before: x -> GELU, SiLU, Mish, hard swish, Softplus, ELU, CELU or tanh -> layers
After:  x -> the cheaper function of the same shape -> the layers, refitted to what they computed
    HardSwish   x clip(a x + 1/2, 0, 1), a = 1/6, or 1.702 / 6 for a GELU: of GELU and Mish
    Relu        max(x, 0): of all that grow with x
    Clip        clip(x, -1, 1): of tanh
A function is known by its operator, or by the pieces that exporters write. All of a region become the same.
The rewrites `approximate_silu` and `approximate_sigmoid` offer hard swish for SiLU and a hard sigmoid for
Sigmoid, which are close enough to need no refitting; so they are not offered here. `approximate_hardswish`
puts Relu in the place of hard swish and leaves the layers as they are: it costs nothing to try.
Does not apply when: the result is an output of the model, or a value in between is read elsewhere too; the
numbers are not floats, or a shape is not known; the function is that of a recurrence.
Source: of the functions, Hendrycks & Gimpel 2016 (arXiv:1606.08415), section 2, with 1.702 for the slope;
Howard et al. 2019 (arXiv:1905.02244), section 5.2; that Relu can take GELU's place after training goes on,
Mirzadeh et al. 2023 (arXiv:2310.04564). ONNX HardSigmoid-6, Clip-6 and -11.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass

import numpy as np
import onnx_ir as ir

from edgeopt.graph import rewriting
from edgeopt.graph.constants import same_initializer
from edgeopt.graph.contributed import DOMAIN
from edgeopt.graph.convolution import FLOATS
from edgeopt.graph.editing import before, is_shared
from edgeopt.graph.flops import sizes
from edgeopt.graph.matching import made, splice
from edgeopt.graph.regions import REGION_TAG, region_of
from edgeopt.graph.structure import UNCHANGED, Site
from edgeopt.graph.structure._dropping import remove_dead
from edgeopt.graph.structure._knowledge import Knowledge

ORDER = 14

FUSIONS = frozenset({"fuse_gelu", "fuse_hardswish", "fuse_silu"})
"""Rewrites that put one operator in the place of a function's pieces."""

SLOPES = {"Gelu": 1.702, "FastGelu": 1.702, "Mish": 1.0}
"""Of the logistic function that is nearest to the gate; a sixth of it is the hard gate's."""

HARD_SWISH, RELU, CLIP = "HardSwish", "Relu", "Clip"
CHEAPER = {
    **dict.fromkeys(SLOPES, (HARD_SWISH, RELU)),
    **dict.fromkeys(("HardSwish", "QuickGelu", "Softplus", "Elu", "Celu"), (RELU,)),
    "Tanh": (CLIP,),
}
"""What may take a function's place, from costly to cheap."""

CLIP_INPUTS = 11
"""The opset from which on the bounds of Clip are inputs."""

EXAMPLES = (
    """<ir_version: 8, opset_import: ["": 17]>
perceptron (float[1, 6, 24] x) => (float[1, 6, 24] y)
<float[24, 64] w1, float[64] b1, float[64, 24] w2, float[24, 48] w3, float[48, 24] w4,
 float root = {1.4142135}, float one = {1}, float half = {0.5}> {
    h = MatMul(x, w1)
    hb = Add(b1, h)
    d = Div(hb, root)
    e = Erf(d)
    g = Add(e, one)
    m = Mul(hb, g)
    a = Mul(m, half)
    n = MatMul(a, w2)
    t = Tanh(n)
    k = MatMul(t, w3)
    s = Sigmoid(k)
    z = Mul(k, s)
    y = MatMul(z, w4)
}""",
    """<ir_version: 8, opset_import: ["": 13]>
maps (float[1, 3, 8, 8] x) => (float[1, 4, 8, 8] y)
<float[8, 3, 3, 3] w1, float[8, 8, 1, 1] w2, float[8, 8, 3, 3] w3, float[4, 8, 1, 1] w4, float[4] b4,
 float three = {3}, float zero = {0}, float six = {6}> {
    c1 = Conv <pads = [1, 1, 1, 1]> (x, w1)
    a1 = Add(c1, three)
    k1 = Clip(a1, zero, six)
    m1 = Mul(c1, k1)
    h1 = Div(m1, six)
    c2 = Conv(h1, w2)
    p2 = Softplus(c2)
    t2 = Tanh(p2)
    h2 = Mul(c2, t2)
    c3 = Conv <pads = [1, 1, 1, 1]> (h2, w3)
    h3 = Elu(c3)
    y = Conv(h3, w4, b4)
}""",
)


@dataclass(frozen=True, slots=True)
class _Function:
    """A costly function in a graph.

    Attributes:
        name: Key of `CHEAPER`.
        x: What it is of.
        nodes: That compute it, the last one last.
    """

    name: str
    x: ir.Value
    nodes: tuple[ir.Node, ...]

    @property
    def output(self) -> ir.Value:
        return self.nodes[-1].outputs[0]


def sites(model: ir.Model) -> Sequence[Site]:
    """See `Change`."""
    found: dict[str, Site] = {}
    for function in _functions(_fused(model, {region_of(node) for node in model.graph})):
        region = region_of(function.nodes[-1])
        found.setdefault(region, Site(region, (UNCHANGED, *CHEAPER[function.name])))
    return list(found.values())


def apply(model: ir.Model, region: str, option: str, knowledge: Knowledge) -> ir.Model:  # noqa: ARG001
    """See `Change`."""
    if option == UNCHANGED:
        return model
    changed = _fused(model, {region})
    here = [one for one in _functions(changed) if region_of(one.nodes[-1]) == region]
    here = [one for one in here if option in CHEAPER[one.name]]
    for function in here:
        new = _cheaper(changed.graph, function, option)
        for node in new:
            node.metadata_props[REGION_TAG] = region
        last = function.nodes[-1]
        splice(changed.graph, last, function.nodes, new, [function.output], [new[-1].outputs[0]])
    if not here:
        return model
    remove_dead(changed.graph)
    if not any(node.domain == DOMAIN for node in changed.graph) and DOMAIN not in model.graph.opset_imports:
        changed.graph.opset_imports.pop(DOMAIN, None)
    return changed


def _fused(model: ir.Model, regions: Collection[str]) -> ir.Model:
    """A copy in which the pieces of functions in these regions are one operator each."""
    copy = model.clone()
    rewriting.apply(copy, lambda rewrite, region: rewrite in FUSIONS and region in regions)
    return copy


def _functions(model: ir.Model) -> list[_Function]:
    """The costly functions of a graph, in topological order."""
    found: list[_Function] = []
    taken: set[ir.Node] = set()
    for node in reversed(list(model.graph)):  # a piece of a function comes after the whole
        function = None if node in taken else _function(node)
        if function is not None:
            taken.update(function.nodes)
            found.append(function)
    return found[::-1]


def _function(node: ir.Node) -> _Function | None:
    """The function that ends at a node, if it is a costly one that can be replaced."""
    output = node.outputs[0]
    if output.is_graph_output() or output.dtype not in FLOATS or sizes(output) is None:
        return None
    found = _in_pieces(node) if node.op_type == "Mul" and not node.domain else None
    if found is None and node.domain in ("", DOMAIN) and node.op_type in CHEAPER:
        x, others = node.inputs[0], node.inputs[1:]
        biased = any(value is not None for value in others)
        found = None if x is None or biased else _Function(node.op_type, x, (node,))
    return found if found is not None and sizes(found.x) == sizes(output) else None


def _in_pieces(product: ir.Node) -> _Function | None:
    """Mish, or a hard swish of an opset without it: x times a gate of x."""
    for x, gate in (tuple(product.inputs), tuple(reversed(product.inputs))):
        hard, tanh = before(gate, {"HardSigmoid"}), before(gate, {"Tanh"})
        soft = before(tanh.inputs[0], {"Softplus"}) if tanh is not None else None
        nodes = [node for node in (soft, tanh, hard) if node is not None]
        if (
            x is None
            or not nodes
            or nodes[0].inputs[0] is not x
            or any(is_shared(n.outputs[0]) for n in nodes)
        ):
            continue
        if hard is not None or soft is not None:
            return _Function("HardSwish" if hard is not None else "Mish", x, (*nodes, product))
    return None


def _cheaper(graph: ir.Graph, function: _Function, option: str) -> list[ir.Node]:
    """The operators that take a function's place."""
    x, opset = function.x, graph.opset_imports.get("", 1)
    shape, dtype = sizes(x), x.dtype
    if option == RELU:
        return [made("Relu", [x], {}, shape, dtype)]
    if option == HARD_SWISH:
        slope = {"alpha": SLOPES[function.name] / 6, "beta": 0.5}
        gate = made("HardSigmoid", [x], slope, shape, dtype)
        return [gate, made("Mul", [x, gate.outputs[0]], {}, shape, dtype)]
    if opset < CLIP_INPUTS:
        return [made("Clip", [x], {"min": -1.0, "max": 1.0}, shape, dtype)]
    kind = (dtype or ir.DataType.FLOAT).numpy()
    bounds = [
        same_initializer(graph, f"clip_{n}", np.asarray(at, kind)) for n, at in (("low", -1), ("high", 1))
    ]
    return [made("Clip", [x, *bounds], {}, shape, dtype)]
