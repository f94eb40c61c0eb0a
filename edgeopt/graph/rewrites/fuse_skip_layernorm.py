"""Fuse a normalisation with the residual sum before it.

    y = layernorm(a + b) * scale + shift;   y = rmsnorm(a + b) * scale

Before:
    LayerNormalization(Add(a, b), scale, shift), or its pieces (see `fuse_layernorm`), of any opset;
    RMSNormalization(Add(a, b), scale);
    also with a bias of one number per channel added to a or b first
After:
    com.microsoft.SkipLayerNormalization(a, b, scale, shift, bias);
    com.microsoft.SkipSimplifiedLayerNormalization(a, b, scale, bias);
    the sum is its fourth result, where it is read elsewhere too: the next residual connection

Weights: scale, shift and bias are (H,).

Does not apply when:
    - a and b are not of one shape `(N, S, H)` or `(S, H)`, or the normalisation is not over H alone,
    - scale or shift are computed,
    - the statistics of the normalisation are read,
    - x is not float32.

onnxruntime does the same itself from the level `extended` on, but not where the sum is read elsewhere too, as
a residual sum is, and its kernel for this is faster than that of LayerNormalization. Measured on one x86
core, in pairs of interleaved runs at level `all`: alone 2.8 to 3.1 times as fast, the example `transformer`
1.2 times.

Source: onnxruntime ContribOperators: SkipLayerNormalization, SkipSimplifiedLayerNormalization.
"""

from __future__ import annotations

import numpy as np
import onnx_ir

from edgeopt.graph.constants import array_of
from edgeopt.graph.expressions import constant, contributed, producer, reader_of, replacement
from edgeopt.graph.flops import sizes
from edgeopt.graph.matching import Found, Refusal
from edgeopt.graph.normalization import Normalized, centred, normalized
from edgeopt.graph.rewrites import Example
from edgeopt.graph.rewriting import MADE_BY

ORDER = 70
EXACT = True
RTOL = 1e-4

_FUSED = {
    "LayerNormalization": "SkipLayerNormalization",
    "RMSNormalization": "SkipSimplifiedLayerNormalization",
}


class FuseSkipLayerNorm:
    """A normalisation behind an Add."""

    def find(self, model: onnx_ir.Model, node: onnx_ir.Node) -> Found | Refusal | None:
        """See `edgeopt.graph.rewrites.Rule`."""
        if node.domain or node.metadata_props.get(MADE_BY) == "expand_layernorm":
            return None
        if node.op_type in ("Add", "Mul", "Div"):
            return _of_pieces(model.graph, node)
        if node.op_type not in _FUSED:
            return None
        total = producer(node.inputs[0], "Add")
        if total is None:
            return None
        if (reason := _unfit(node, total)) is not None:
            return Refusal(reason)
        left, right, bias, added = _operands(total)

        def make() -> tuple[list[onnx_ir.Node], list[onnx_ir.Value]]:
            shifts = list(node.inputs[2:3] or [None]) if node.op_type == "LayerNormalization" else []
            inputs = [left, right, node.inputs[1], *shifts, *([bias] if bias is not None else [])]
            while inputs[-1] is None:
                inputs.pop()
            epsilon = node.attributes.get_float("epsilon", 1e-5)
            operator = _FUSED[node.op_type]
            made = contributed(operator, inputs, total.outputs[0], {"epsilon": epsilon or 0.0}, outputs=4)
            made.outputs[1].name = made.outputs[2].name = ""
            return [made], [made.outputs[0], made.outputs[3]]

        results = [node.outputs[0], total.outputs[0]]
        return replacement(model.graph, [node, total, *added], results, make, after=total)


def _of_pieces(graph: onnx_ir.Graph, node: onnx_ir.Node) -> Found | Refusal | None:
    """The same for a layer normalisation in pieces."""
    found = normalized(node)
    source = centred(found.numerator, found.axis) if isinstance(found, Normalized) else None
    total = producer(source[0], "Add") if source is not None else None
    if not isinstance(found, Normalized) or source is None or total is None:
        return None
    shape = sizes(total.outputs[0])
    if shape is None or any(sizes(value) != shape for value in total.inputs):
        return Refusal("the two summands are not of one known shape")
    if len(shape) not in (2, 3) or found.axis != len(shape) - 1:
        return Refusal("it is not of (N, S, H) or (S, H), over H alone")
    if total.outputs[0].dtype != onnx_ir.DataType.FLOAT:
        return Refusal("it is not of float32")
    left, right, bias, added = _operands(total)

    def make() -> tuple[list[onnx_ir.Node], list[onnx_ir.Value]]:
        name = node.outputs[0].name
        scale = found.scale if found.scale is not None else np.ones(shape[-1:], np.float32)
        shift = None if found.shift is None else constant(graph, f"{name}_shift", found.shift)
        inputs = [left, right, constant(graph, f"{name}_scale", scale), shift, bias]
        while inputs[-1] is None:
            inputs.pop()
        operator = _FUSED["LayerNormalization"]
        made = contributed(operator, inputs, total.outputs[0], {"epsilon": found.epsilon}, outputs=4)
        made.outputs[1].name = made.outputs[2].name = ""
        return [made], [made.outputs[0], made.outputs[3]]

    old = [*found.nodes, *source[1], total, *added]
    return replacement(graph, old, [node.outputs[0], total.outputs[0]], make, after=total)


def _unfit(node: onnx_ir.Node, total: onnx_ir.Node) -> str | None:
    """Why onnxruntime's operator does not take this sum and this normalisation."""
    shape = sizes(total.outputs[0])
    if shape is None or any(sizes(value) != shape for value in total.inputs):
        return "the two summands are not of one known shape"
    if len(shape) not in (2, 3) or node.attributes.get_int("axis", -1) not in (-1, len(shape) - 1):
        return "it is not of (N, S, H) or (S, H), over H alone"
    if total.outputs[0].dtype != onnx_ir.DataType.FLOAT:
        return "it is not of float32"
    if any(output.uses() or output.is_graph_output() for output in node.outputs[1:]):
        return "the statistics are read"
    weights = [array_of(value) for value in node.inputs[1:] if value is not None]
    if any(array is None or array.shape != shape[-1:] for array in weights):
        return "scale or shift is not a constant of H numbers"
    return None


def _operands(
    total: onnx_ir.Node,
) -> tuple[onnx_ir.Value | None, onnx_ir.Value | None, onnx_ir.Value | None, list[onnx_ir.Node]]:
    """The summands, and a bias of H numbers that was added to one of them."""
    for position in (0, 1):
        inner = producer(total.inputs[position], "Add")
        if inner is None or reader_of(inner.outputs[0]) is not total:
            continue
        for x, bias in (inner.inputs, reversed(inner.inputs)):
            array = array_of(bias)
            shape = sizes(x)
            if array is not None and shape == sizes(inner.outputs[0]) and array.shape == (shape or (0,))[-1:]:
                return x, total.inputs[1 - position], bias, [inner]
    return total.inputs[0], total.inputs[1], None, []


RULES = (FuseSkipLayerNorm(),)


def _example(
    body: str, becomes: tuple[str, ...] | None, reason: str = "", opset: int = 17, outputs: str = ""
) -> Example:
    return Example(
        f"""<ir_version: 8, opset_import: ["": {opset}]>
        agraph (float[2,3,4] x, float[2,3,4] z, float[3,4] p) => (float[2,3,4] y{outputs})
          <float[4] g = {{1, 2, 0.5, 3}}, float[4] s = {{1, -1, 0.5, 2}}, float[4] b = {{3, 0, -1, 2}},
           float tiny = {{0.00001}}>
        {{ {body} }}""",
        becomes,
        reason,
    )


_NORM = "LayerNormalization <axis = -1, epsilon = 0.001>"

_PIECES = """m = ReduceMean <axes = [-1]> (a) d = Sub(a, m) q = Mul(d, d) v = ReduceMean <axes = [-1]> (q)
 e = Add(v, tiny) r = Sqrt(e) n = Div(d, r)"""

EXAMPLES = (
    _example(
        f"a = Add(x, z) {_PIECES} w = Mul(n, g) o = Add(w, s) y = Add(a, o)",
        ("SkipLayerNormalization", "Add"),
        opset=13,
    ),
    _example(f"i = Add(x, b) a = Add(i, z) {_PIECES} y = Neg(n)", ("SkipLayerNormalization", "Neg")),
    _example(f"a = Add(x, p) {_PIECES} y = Mul(n, g)", None, "one known shape"),
    _example(f"a = Add(x, z) {_PIECES} y = Mul(n, q)", None, "elsewhere"),
    _example(f"a = Add(x, z) y = {_NORM} (a, g, s)", ("SkipLayerNormalization",)),
    _example(f"a = Add(x, z) y = {_NORM} (a, g)", ("SkipLayerNormalization",)),
    _example(f"i = Add(x, b) a = Add(i, z) y = {_NORM} (a, g)", ("SkipLayerNormalization",)),
    _example(
        f"a = Add(x, z) n = {_NORM} (a, g, s) y = Add(a, n)",
        ("SkipLayerNormalization", "Add"),
    ),
    _example(
        f"i = Add(b, z) a = Add(x, i) c = Neg(a) y = {_NORM} (a, g, s)",
        ("SkipLayerNormalization", "Neg"),
        outputs=", float[2,3,4] a, float[2,3,4] c",
    ),
    _example("a = Add(x, z) y = RMSNormalization (a, g)", ("SkipSimplifiedLayerNormalization",), opset=23),
    _example(f"a = Add(x, p) y = {_NORM} (a, g, s)", None, "one known shape"),
    _example("a = Add(x, z) y = LayerNormalization <axis = 1> (a, p, p)", None, "over H alone"),
    _example(f"a = Add(x, z) y, m = {_NORM} (a, g, s)", None, "statistics", outputs=", float[2,3,1] m"),
    _example(
        f"t = Neg(g) r = Mul(p, p) q = ReduceMax <axes = [0], keepdims = 0> (r) a = Add(x, z) "
        f"y = {_NORM} (a, q, t)",
        None,
        "not a constant",
    ),
)
