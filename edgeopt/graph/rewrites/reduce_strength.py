"""Replace an operator by a cheaper one of the same result.

    x^2 = x x;   x^3 = x (x x);   x^0.5 = sqrt(x);   x^-1 = 1 / x;   x / c = x (1 / c);
    a (1 / b) = a / b;   1 / x = reciprocal(x);   x - c = x + (-c)

Before:
    Pow(x, 2), Pow(x, 3), Pow(x, 0.5), Pow(x, -1), Div(x, c), Mul(a, Reciprocal(b)), Div(1, x)
After:
    Mul(x, x), Mul(x, Mul(x, x)), Sqrt(x), Reciprocal(x), Mul(x, 1 / c), Div(a, b), Reciprocal(x)

Weights: c has any shape; 1 / c is computed in float64 and stored in its type.

Does not apply when:
    - the numbers are integers,
    - 1 / c is not finite, or so small that its type rounds it badly (below the smallest normal number),
    - Reciprocal's result is read elsewhere too, or is an output of the model.

Bit-equal are Pow of 2 and -1, Div(1, x), and Div by powers of two. The others differ by the last bits of a
number: 1 / c is rounded once more; Pow of 3 rounds between its products; Sqrt(-0.0) is -0.0 where Pow gave
0.0. onnxruntime's kernel of Pow knows 2 and 3 already, and its own fusions of layer normalisation look for
Pow and Div: what is left in pieces for that may be slower, or
faster (see `expand_layernorm`). Measured on one x86 core, in pairs of interleaved runs at level `all`, for
(1, 64, 256): Pow of 0.5 5.7 times as fast, Mul by Reciprocal 1.4 times, Pow of 3 1.1 times, Div by a
constant the same.

Source: ONNX Pow-15, Div-14, Reciprocal-13, Sqrt-13.
"""

from __future__ import annotations

import numpy as np
import onnx_ir

from edgeopt.graph.constants import array_of, scalar_of
from edgeopt.graph.expressions import constant, producer, replacement, smallest_normal
from edgeopt.graph.flops import sizes
from edgeopt.graph.matching import Found, Refusal, is_shared, made
from edgeopt.graph.rewrites import Example

ORDER = 80
EXACT = True
SITUATIONAL = True
RTOL = 1e-5

_FLOATS = (onnx_ir.DataType.FLOAT, onnx_ir.DataType.DOUBLE, onnx_ir.DataType.FLOAT16)
_POWERS = {2.0: "Mul", 3.0: "Mul", 0.5: "Sqrt", -1.0: "Reciprocal"}


class ReduceStrength:
    """A Pow, Div or Mul for which there is something cheaper."""

    def find(self, model: onnx_ir.Model, node: onnx_ir.Node) -> Found | Refusal | None:
        """See `edgeopt.graph.rewrites.Rule`."""
        if node.op_type not in ("Pow", "Div", "Mul") or node.domain:
            return None
        x, y = node.inputs[0], node.inputs[1]
        if x is None or y is None or x.dtype != y.dtype:
            return None
        if node.op_type == "Mul":
            return _by_reciprocal(model, node)
        number = scalar_of(y)
        if node.op_type == "Pow" and number not in _POWERS:
            return None
        if node.op_type == "Div" and array_of(y) is None and scalar_of(x) != 1.0:
            return None
        if x.dtype not in _FLOATS:
            return Refusal("the numbers are integers") if x.dtype is not None else None
        if sizes(node.outputs[0]) is None:
            return Refusal("the shape is not known")
        if node.op_type == "Pow":
            same = sizes(x) == sizes(node.outputs[0])
            return _power(model, node, x, float(number or 0)) if same else None
        if array_of(y) is None:
            same = sizes(y) == sizes(node.outputs[0])
            return _one(model, [node], node, "Reciprocal", [y]) if same else None
        return _quotient(model, node, x, y)


def _power(model: onnx_ir.Model, node: onnx_ir.Node, x: onnx_ir.Value, number: float) -> Found | Refusal:
    if number != 3.0:
        return _one(model, [node], node, _POWERS[number], [x, x] if number == 2.0 else [x])

    def make() -> tuple[list[onnx_ir.Node], list[onnx_ir.Value]]:
        square = made("Mul", [x, x], shape=sizes(x), dtype=x.dtype)
        cube = made("Mul", [x, square.outputs[0]], shape=sizes(x), dtype=x.dtype)
        return [square, cube], [cube.outputs[0]]

    return replacement(model.graph, [node], [node.outputs[0]], make)


def _quotient(
    model: onnx_ir.Model, node: onnx_ir.Node, x: onnx_ir.Value, y: onnx_ir.Value
) -> Found | Refusal | None:
    divisor = array_of(y)
    if divisor is None or array_of(x) is not None:
        return None
    with np.errstate(all="ignore"):
        inverse = (1 / divisor.astype(np.float64)).astype(divisor.dtype)
    if not np.isfinite(inverse).all() or (np.abs(inverse) < smallest_normal(divisor.dtype)).any():
        return Refusal("the reciprocal of the divisor is not a normal number")

    def make() -> tuple[list[onnx_ir.Node], list[onnx_ir.Value]]:
        factor = constant(model.graph, f"{y.name}_inverse", inverse)
        new = made("Mul", [x, factor], shape=sizes(node.outputs[0]), dtype=x.dtype)
        return [new], [new.outputs[0]]

    return replacement(model.graph, [node], [node.outputs[0]], make)


def _by_reciprocal(model: onnx_ir.Model, node: onnx_ir.Node) -> Found | Refusal | None:
    for a, inverse in (node.inputs, reversed(node.inputs)):
        reciprocal = producer(inverse, "Reciprocal")
        if reciprocal is None or inverse is None or a is inverse:
            continue
        if is_shared(inverse):
            return Refusal("the reciprocal is read elsewhere too, or is an output of the model")
        return _one(model, [node, reciprocal], node, "Div", [a, reciprocal.inputs[0]])
    return None


def _one(
    model: onnx_ir.Model,
    old: list[onnx_ir.Node],
    node: onnx_ir.Node,
    operator: str,
    inputs: list[onnx_ir.Value | None],
) -> Found | Refusal:
    def make() -> tuple[list[onnx_ir.Node], list[onnx_ir.Value]]:
        new = made(operator, inputs, shape=sizes(node.outputs[0]), dtype=node.outputs[0].dtype)
        return [new], [new.outputs[0]]

    return replacement(model.graph, old, [node.outputs[0]], make)


RULES = (ReduceStrength(),)


def _example(
    body: str, becomes: tuple[str, ...] | None, reason: str = "", kind: str = "float", outputs: str = ""
) -> Example:
    return Example(
        f"""<ir_version: 8, opset_import: ["": 17]>
        agraph ({kind}[2,3] x, {kind}[2,3] z) => ({kind}[2,3] y{outputs})
          <{kind} one = {{1}}, {kind} two = {{2}}, {kind} three = {{3}}, {kind}[3] c = {{7, -3, 9}},
           float half = {{0.5}}, float minus = {{-1}}, float huge = {{1e38}}, float[2] zeros = {{0, 0}}>
        {{ {body} }}""",
        becomes,
        reason,
    )


EXAMPLES = (
    _example("y = Pow(x, two)", ("Mul",)),
    _example("y = Pow(x, three)", ("Mul", "Mul")),
    _example("a = Abs(x) y = Pow(a, half)", ("Abs", "Sqrt")),
    _example("y = Pow(x, minus)", ("Reciprocal",)),
    _example("y = Div(x, c)", ("Mul",)),
    _example("y = Div(one, x)", ("Reciprocal",)),
    _example("r = Reciprocal(z) y = Mul(r, x)", ("Div",)),
    _example("y = Pow(x, z)", None),
    _example("h = Div(x, huge) y = Div(h, huge)", None, "normal"),
    _example("y = Div(x, three)", None, "integers", kind="int32"),
    _example("r = Reciprocal(z) y = Mul(x, r)", None, "elsewhere", outputs=", float[2,3] r"),
)
