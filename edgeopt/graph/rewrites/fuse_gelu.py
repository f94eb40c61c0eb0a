"""Fuse the pieces of a GELU, which exporters write in many orders.

    gelu(x)      = x / 2 * (1 + erf(x / sqrt(2)))
    gelu_tanh(x) = x / 2 * (1 + tanh(sqrt(2 / pi) * (x + 0.044715 x^3)))

Before:
    the product of x, 0.5 and 1 + Erf(x / sqrt(2)), or of x, 0.5 and 1 + Tanh(...), in any order; with
    Mul or Pow for the cube
After:
    Gelu(x), Gelu<approximate = "tanh">(x)                      from opset 20 on
    com.microsoft.Gelu(x), com.microsoft.FastGelu(x)            before

Weights: none; the constants are single numbers.

Does not apply when:
    - a constant differs by more than 1e-4 of itself (0.044715: 1e-3),
    - a value in between is read elsewhere too, or is an output of the model,
    - x is not float32: onnxruntime has no other kernels on processors.

onnxruntime fuses the erf form itself, from the level `extended` on, but few of the orders of the tanh form:
magika's, from JAX, it leaves in pieces. Measured on one x86 core, in pairs of interleaved runs at level
`all`: magika 1.04 times as fast, its GELU alone 2.0 times for (1, 64, 256); where onnxruntime fuses the form
itself, the same graph.

Source: Hendrycks & Gimpel 2016; ONNX Gelu-20; onnxruntime ContribOperators: Gelu, FastGelu.
"""

from __future__ import annotations

import math

import onnx_ir

from edgeopt.graph.expressions import contributed, fused, is_close, opset_of, producer, product_of, sum_of
from edgeopt.graph.flops import sizes
from edgeopt.graph.matching import Found, Refusal, made
from edgeopt.graph.rewrites import Example

ORDER = 50
EXACT = True
RTOL = 1e-4

FIRST_OPSET = 20
"""That has Gelu."""


class FuseGelu:
    """A product that is the whole of a GELU."""

    def find(self, model: onnx_ir.Model, node: onnx_ir.Node) -> Found | Refusal | None:
        """See `edgeopt.graph.rewrites.Rule`."""
        if node.domain or node.op_type not in ("Mul", "Div"):
            return None
        output = node.outputs[0]
        whole = product_of(output)
        if len(whole.parts) != 2:
            return None
        for x, gate in (whole.parts, whole.parts[::-1]):
            if (found := _gate(x, gate)) is None:
                continue
            operator, factor, nodes = found
            if not is_close(whole.number * factor, 1.0):
                continue
            if x.dtype != onnx_ir.DataType.FLOAT:
                return Refusal("onnxruntime has Gelu for float32 only")
            make = _standard if opset_of(model) >= FIRST_OPSET else _contributed
            return fused(
                model.graph, [*whole.nodes, *nodes], output,
                lambda x=x, operator=operator, make=make: make(operator, x),  # type: ignore[misc]
            )  # fmt: skip
        return None


def _gate(x: onnx_ir.Value, gate: onnx_ir.Value) -> tuple[str, float, list[onnx_ir.Node]] | None:
    """Operator, 2, and nodes where `gate` is `1 + erf(...)` or `1 + tanh(...)`; 1 where halved inside."""
    total = sum_of(gate)
    if len(total.parts) != 1 or total.number == 0:
        return None
    curve = product_of(total.parts[0])  # 0.5 + 0.5 * erf is as good as 0.5 * (1 + erf)
    if len(curve.parts) != 1 or not is_close(curve.number, total.number):
        return None
    nodes = [*total.nodes, *curve.nodes]
    if (erf := producer(curve.parts[0], "Erf")) is not None and erf.inputs[0] is not None:
        inner = product_of(erf.inputs[0])
        fits = inner.parts == [x] and is_close(inner.number, math.sqrt(0.5))
        return ("Gelu", 2 * total.number, [*nodes, erf, *inner.nodes]) if fits else None
    if (tanh := producer(curve.parts[0], "Tanh")) is not None and tanh.inputs[0] is not None:
        cubic = _cubic(x, tanh.inputs[0])
        return None if cubic is None else ("FastGelu", 2 * total.number, [*nodes, tanh, *cubic])
    return None


def _cubic(x: onnx_ir.Value, value: onnx_ir.Value) -> list[onnx_ir.Node] | None:
    """The nodes of `sqrt(2 / pi) * (x + 0.044715 x^3)`, also with x taken out of the sum."""
    outer = product_of(value)
    if not is_close(outer.number, math.sqrt(2 / math.pi)):
        return None
    rest = list(outer.parts)
    if x in rest and len(rest) == 2:
        rest.remove(x)
        polynomial = sum_of(rest[0])
        power = 2
        if not is_close(polynomial.number, 1.0) or len(polynomial.parts) != 1:
            return None
        terms = polynomial.parts
    elif len(rest) == 1:
        polynomial = sum_of(rest[0])
        power = 3
        if polynomial.number or len(polynomial.parts) != 2 or x not in polynomial.parts:
            return None
        terms = list(polynomial.parts)
        terms.remove(x)
    else:
        return None
    last = product_of(terms[0])
    if last.parts != [x] * power or not is_close(last.number, 0.044715, 1e-3):
        return None
    return [*outer.nodes, *polynomial.nodes, *last.nodes]


def _standard(operator: str, x: onnx_ir.Value) -> onnx_ir.Node:
    attributes = {"approximate": "tanh"} if operator == "FastGelu" else {}
    return made("Gelu", [x], attributes, sizes(x), x.dtype)


def _contributed(operator: str, x: onnx_ir.Value) -> onnx_ir.Node:
    return contributed(operator, [x], x)


RULES = (FuseGelu(),)

_CONSTANTS = """float half = {0.5}, float one = {1}, float two = {2}, float root = {1.4142135},
 float inverse = {0.70710678}, float three = {3}, float cubic = {0.044715}, float slope = {0.7978846}"""


def _example(
    body: str, becomes: tuple[str, ...] | None, reason: str = "", opset: int = 17, kind: str = "float"
) -> Example:
    constants = _CONSTANTS.replace("float", kind)
    return Example(
        f"""<ir_version: 8, opset_import: ["": {opset}]>
        agraph ({kind}[2,8] x) => ({kind}[2,8] y) <{constants}>
        {{ {body} }}""",
        becomes,
        reason,
    )


_ERF = "d = Div(x, root) e = Erf(d) a = Add(e, one)"
_JAX = "p = Mul(x, cubic) q = Mul(x, p) r = Mul(x, q) s = Add(x, r) u = Mul(slope, s) t = Tanh(u)"

EXAMPLES = (
    _example(f"{_ERF} h = Mul(x, half) y = Mul(h, a)", ("Gelu",)),
    _example(f"{_ERF} m = Mul(x, a) y = Mul(half, m)", ("Gelu",), opset=20),
    _example(f"{_ERF} m = Mul(a, x) y = Div(m, two)", ("Gelu",)),
    _example("i = Mul(inverse, x) e = Erf(i) f = Mul(e, half) a = Add(half, f) y = Mul(x, a)", ("Gelu",)),
    _example(f"{_JAX} a = Add(one, t) h = Mul(half, a) y = Mul(x, h)", ("FastGelu",)),
    _example(f"{_JAX} a = Add(one, t) h = Mul(half, a) y = Mul(x, h)", ("Gelu",), opset=20),
    _example(
        """p = Pow(x, three) c = Mul(cubic, p) s = Add(c, x) u = Mul(s, slope) t = Tanh(u) a = Add(t, one)
        h = Mul(x, half) y = Mul(h, a)""",
        ("FastGelu",),
    ),
    _example(
        """p = Mul(x, x) c = Mul(cubic, p) s = Add(c, one) w = Mul(x, slope) u = Mul(w, s) t = Tanh(u)
        a = Add(t, one) h = Mul(x, half) y = Mul(h, a)""",
        ("FastGelu",),
    ),
    _example(f"{_ERF} y = Mul(x, a)", None),
    _example("d = Div(x, two) e = Erf(d) a = Add(e, one) h = Mul(x, half) y = Mul(h, a)", None),
    _example(f"{_ERF} h = Mul(x, half) g = Mul(h, a) y = Add(g, e)", None, "elsewhere"),
    _example(f"{_ERF} h = Mul(x, half) y = Mul(h, a)", None, "float32", kind="double"),
)
