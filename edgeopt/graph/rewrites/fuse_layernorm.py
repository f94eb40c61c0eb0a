"""Fuse the pieces of a layer normalisation.

    d = x - mean(x)
    y = d / sqrt(mean(d^2) + epsilon) * scale + shift      with the means over the last axes

Before:
    ReduceMean, Sub, Pow or Mul, ReduceMean, Add, Sqrt, then Div; or Reciprocal (or 1 / .) and Mul; or Pow of
    0.5 or -0.5; then Mul and Add, both, the first only, or none
After:
    LayerNormalization(x, scale, shift)

Weights: scale and shift broadcast to the shape of the last axes, `x.shape[axis:]`; a missing scale is stored
as ones.

Does not apply when:
    - the opset is below 17, which brought LayerNormalization,
    - the means are over other axes than the last ones (channels-first), or a shape is not known,
    - a value in between is read elsewhere too, or is an output of the model,
    - x is not float32 or float64: float16 would be summed in another precision.

onnxruntime fuses the usual form, with Pow and Sqrt, itself at every level: then nothing is gained there. It
leaves a square by Mul and a root by Pow in pieces, and is faster so: measured on one x86 core, in pairs of
interleaved runs at level `all`, onnxruntime 1.28, its kernel for (1, 64, 256) is 0.4 times as fast as they
are. It is here for other runtimes, for boards where that is not so, and as the first step of others.

Source: ONNX LayerNormalization-17; Ba, Kiros & Hinton 2016, equation 3.
"""

from __future__ import annotations

import numpy as np
import onnx_ir

from edgeopt.graph.expressions import REAL, constant, fused, is_read_outside, opset_of
from edgeopt.graph.flops import sizes
from edgeopt.graph.matching import SHARED, Found, Refusal, made
from edgeopt.graph.normalization import Normalized, centred, normalized
from edgeopt.graph.rewrites import Example
from edgeopt.graph.rewriting import MADE_BY

ORDER = 52
EXACT = True
SITUATIONAL = True
RTOL = 1e-4

FIRST_OPSET = 17
OPPOSITE = "expand_layernorm"


class FuseLayerNorm:
    """The last node of a normalisation."""

    def find(self, model: onnx_ir.Model, node: onnx_ir.Node) -> Found | Refusal | None:
        """See `edgeopt.graph.rewrites.Rule`."""
        if node.op_type not in ("Add", "Mul", "Div") or node.domain:
            return None
        if node.metadata_props.get(MADE_BY) == OPPOSITE:
            return None
        found = normalized(node)
        if not isinstance(found, Normalized):
            return found
        source = centred(found.numerator, found.axis)
        if source is None:
            return None
        x, nodes = source[0], [*found.nodes, *source[1]]
        if is_read_outside(nodes, node.outputs):
            return SHARED
        if opset_of(model) < FIRST_OPSET:
            return Refusal(f"LayerNormalization exists from opset {FIRST_OPSET} on")
        if x.dtype not in REAL:
            return Refusal("it is not of float32 or float64")
        return fused(model.graph, nodes, node.outputs[0], lambda: _layernorm(model.graph, x, found, node))


def _layernorm(graph: onnx_ir.Graph, x: onnx_ir.Value, found: Normalized, last: onnx_ir.Node) -> onnx_ir.Node:
    shape = sizes(x) or ()
    dtype = (x.dtype or onnx_ir.DataType.FLOAT).numpy()
    scale = found.scale if found.scale is not None else np.ones(shape[found.axis :], dtype)
    name = last.outputs[0].name
    inputs = [x, constant(graph, f"{name}_scale", scale)]
    if found.shift is not None:
        inputs.append(constant(graph, f"{name}_shift", found.shift))
    attributes = {"axis": found.axis - len(shape), "epsilon": found.epsilon}
    return made("LayerNormalization", inputs, attributes, shape, x.dtype)


RULES = (FuseLayerNorm(),)


def _example(
    body: str,
    becomes: tuple[str, ...] | None,
    reason: str = "",
    opset: int = 17,
    kind: str = "float",
    more: str = "",
) -> Example:
    return Example(
        f"""<ir_version: 8, opset_import: ["": {opset}]>
        agraph ({kind}[2,3,4] x) => ({kind}[2,3,4] y)
          <{kind} two = {{2}}, {kind} tiny = {{0.00001}}, {kind} half = {{0.5}}, {kind} minus = {{-0.5}},
           {kind} one = {{1}}, {kind}[4] g = {{1, 2, 0.5, 3}}, {kind}[1,1,4] b = {{0.5, 0, 1, -1}},
           {kind}[3,1] column = {{1, 2, 3}}, int64[1] last = {{-1}}{more}>
        {{ {body} }}""",
        becomes,
        reason,
    )


_MEAN = "ReduceMean <axes = [-1]>"
_SPREAD = f"m = {_MEAN} (x) d = Sub(x, m) q = Pow(d, two) v = {_MEAN} (q) e = Add(v, tiny)"
_TORCH = f"{_SPREAD} s = Sqrt(e) n = Div(d, s)"
_CHANNELS = _TORCH.replace("[-1]", "[1]")

EXAMPLES = (
    _example(f"{_TORCH} w = Mul(n, g) y = Add(w, b)", ("LayerNormalization",)),
    _example(f"{_TORCH} w = Mul(g, n) y = Neg(w)", ("LayerNormalization", "Neg")),
    _example(f"{_TORCH} y = Relu(n)", ("LayerNormalization", "Relu")),
    _example(f"{_TORCH} y = Add(b, n)", ("LayerNormalization",)),
    _example(f"{_TORCH.replace('[-1]', '[1, 2]')} w = Mul(n, column) y = Add(w, b)", ("LayerNormalization",)),
    _example(
        f"m = {_MEAN} (x) d = Sub(x, m) q = Mul(d, d) v = {_MEAN} (q) e = Add(tiny, v) s = Sqrt(e) "
        "r = Reciprocal(s) n = Mul(r, d) w = Mul(n, g) y = Add(w, b)",
        ("LayerNormalization",),
    ),
    _example(f"{_SPREAD} r = Pow(e, minus) n = Mul(d, r) y = Mul(n, g)", ("LayerNormalization",)),
    _example(
        f"m = {_MEAN} (x) d = Sub(x, m) c = Sub(x, m) q = Pow(d, two) v = {_MEAN} (q) e = Add(v, tiny) "
        "s = Pow(e, half) n = Div(c, s) w = Mul(n, g) y = Add(w, b)",
        ("LayerNormalization",),
    ),
    _example(
        "m = ReduceMean(x, last) d = Sub(x, m) q = Pow(d, two) v = ReduceMean(q, last) e = Add(v, tiny) "
        "s = Sqrt(e) i = Div(one, s) y = Mul(d, i)",
        ("LayerNormalization",),
        opset=18,
    ),
    _example(f"{_TORCH} w = Mul(n, column) y = Add(w, b)", ("LayerNormalization", "Mul", "Add")),
    _example(f"{_TORCH} w = Mul(n, g) y = Add(w, b)", None, "opset 17", opset=16),
    _example(f"{_TORCH} w = Mul(n, g) z = Add(w, b) y = Add(z, d)", None, "elsewhere"),
    _example(f"{_CHANNELS} y = Mul(n, g)", None, "last axes"),
    _example(f"{_TORCH} w = Mul(n, g) y = Add(w, b)", ("LayerNormalization",), kind="double"),
    _example(f"{_SPREAD} s = Sqrt(e) y = Div(x, s)", None),
)
