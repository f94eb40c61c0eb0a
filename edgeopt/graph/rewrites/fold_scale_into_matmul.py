"""Fold numbers that multiply into the constant matrix of a product, also through attention's own products.

    (x W + b) c = x (c W) + c b;   (Q K^T) / sqrt(d) = (Q / sqrt(d)) K^T with Q = x W + b

Before:
    Mul or Div by c of: MatMul(x, W) or Gemm(x, W, b); an Add of a constant b; Reshape, Transpose and other
    layout operators; a MatMul one side of which is such a thing; in any order
After:
    the same without the Mul or Div, with c W and c b

Weights: W is (K, N), b broadcasts to (..., N). c is one number; where nothing but the Add is in between, also
(N,). Computed in float64, stored in the type of W.

Does not apply when:
    - a matrix or a bias on the way is computed,
    - a value in between is read elsewhere too, or is an output of the model,
    - c is divided by the result, or c W or c b is not finite in its type.

The value before c changes, so it gets another name and has no calibrated range any more. onnxruntime puts
such a number into its FusedMatMul, from the level `extended` on. Measured on one x86
core, in pairs of interleaved runs at level `all`: the example `transformer` 1.03 times as fast.

Source: ONNX MatMul-13, Gemm-13: products are linear; Vaswani et al. 2017, equation 1.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import onnx_ir
from numpy.typing import NDArray

from edgeopt.graph.constants import array_of, free_name
from edgeopt.graph.expressions import constant, producer
from edgeopt.graph.flops import sizes
from edgeopt.graph.linear import Doubles, Linear
from edgeopt.graph.matching import SHARED, Found, Refusal, is_shared
from edgeopt.graph.rewrites import Example

ORDER = 46
EXACT = True
SITUATIONAL = True
RTOL = 1e-4

_LAYOUT = ("Reshape", "Transpose", "Squeeze", "Unsqueeze", "Flatten", "Identity")
_DEEPEST = 12


@dataclass(slots=True)
class _Place:
    """Where a factor goes.

    Attributes:
        changes: New constants, each with the node and the input that it is for.
        scaled: Values whose content changes.
    """

    changes: list[tuple[onnx_ir.Node, int, Doubles]]
    scaled: list[onnx_ir.Value]


class FoldScale:
    """A Mul or Div behind a product."""

    def find(self, model: onnx_ir.Model, node: onnx_ir.Node) -> Found | Refusal | None:
        """See `edgeopt.graph.rewrites.Rule`."""
        if node.domain or node.op_type not in ("Mul", "Div"):
            return None
        pairs = ((node.inputs[0], node.inputs[1]), (node.inputs[1], node.inputs[0]))
        for x, given in pairs[: 1 if node.op_type == "Div" else 2]:
            array = array_of(given)
            if array is None or x is None or array.dtype.kind != "f" or not _is_reached(x):
                continue
            if sizes(x) is None or sizes(x) != sizes(node.outputs[0]):
                return Refusal("multiplying makes the result larger, or its shape is not known")
            if array.ndim > 1 and array.size > 1:
                return Refusal("the factor differs along other axes than the last")
            with np.errstate(all="ignore"):
                factor = array.astype(np.float64).reshape(-1)
                factor = 1 / factor if node.op_type == "Div" else factor
            return _fold(model.graph, node, x, factor)
        return None


def _is_reached(x: onnx_ir.Value) -> bool:
    """A quick look: whether there is anything at all that a factor may pass."""
    return producer(x, "MatMul", "Gemm", "Add", *_LAYOUT) is not None


def _fold(
    graph: onnx_ir.Graph, node: onnx_ir.Node, x: onnx_ir.Value, factor: Doubles
) -> Found | Refusal | None:
    found = _place(x, factor, _DEEPEST)
    if not isinstance(found, _Place):
        return found
    stored = [(reader, index, _stored(array, reader, index)) for reader, index, array in found.changes]
    if any(array is None for _, _, array in stored):
        return Refusal("a scaled weight is not finite")

    def replace() -> list[onnx_ir.Node]:
        for reader, index, array in stored:
            given = reader.inputs[index]
            if given is not None and array is not None:
                reader.replace_input_with(index, constant(graph, f"{given.name}_scaled", array))
        output = node.outputs[0]
        for value in found.scaled[1:]:
            value.name = free_name(graph, f"{value.name}_scaled")
        name, output.name = output.name, free_name(graph, f"{output.name}_unscaled")
        x.name = name
        output.replace_all_uses_with(x, replace_graph_outputs=True)
        graph.remove(node, safe=True)
        return []

    return Found((node,), replace)


def _stored(array: Doubles, reader: onnx_ir.Node, index: int) -> NDArray[np.generic] | None:
    given = array_of(reader.inputs[index])
    if given is None:
        return None
    with np.errstate(all="ignore"):
        stored = array.astype(given.dtype)
    return stored if np.isfinite(stored).all() else None


def _place(x: onnx_ir.Value, factor: Doubles, depth: int) -> _Place | Refusal | None:
    """What multiplying `x` by `factor` changes; None where there is no product that takes it."""
    node = producer(x, "MatMul", "Gemm", "Add", *_LAYOUT)
    if node is None or not depth:
        return None
    if node.op_type == "Add":
        found = _through_add(node, factor, depth)
    elif node.op_type in _LAYOUT:
        source = node.inputs[0] if factor.size == 1 else None
        found = None if source is None else _place(source, factor, depth - 1)
    else:
        found = _into(node, x, factor, depth)
    if isinstance(found, _Place):
        if is_shared(x):
            return SHARED
        found.scaled.insert(0, x)
    return found


def _through_add(node: onnx_ir.Node, factor: Doubles, depth: int) -> _Place | Refusal | None:
    for position in (0, 1):
        source, bias = node.inputs[position], array_of(node.inputs[1 - position])
        if source is None or bias is None or sizes(source) != sizes(node.outputs[0]):
            continue
        found = _place(source, factor, depth - 1)
        if isinstance(found, _Place):
            found.changes.append((node, 1 - position, bias.astype(np.float64) * _fit(factor)))
        return found
    return None


def _into(node: onnx_ir.Node, x: onnx_ir.Value, factor: Doubles, depth: int) -> _Place | Refusal | None:
    linear = Linear.of(x)
    if linear is None:
        if factor.size != 1 or node.op_type != "MatMul":
            return None
        sides = (_place(value, factor, depth - 1) for value in node.inputs if value is not None)
        found = [side for side in sides if side is not None]
        return next((side for side in found if isinstance(side, _Place)), found[0] if found else None)
    given = array_of(node.inputs[1])
    if given is None or factor.size not in (1, linear.weight.shape[1]):
        return None
    is_transposed = node.op_type == "Gemm" and bool(node.attributes.get_int("transB", 0))
    across = factor.reshape(-1, 1) if is_transposed and factor.size > 1 else _fit(factor)
    changes = [(node, 1, given.astype(np.float64) * across)]
    bias = array_of(node.inputs[2]) if len(node.inputs) > 2 else None
    if bias is not None:
        changes.append((node, 2, bias.astype(np.float64) * _fit(factor)))
    return _Place(changes, [])


def _fit(factor: Doubles) -> Doubles:
    """A number without axes, so that it does not add one."""
    return factor.reshape(()) if factor.size == 1 else factor


RULES = (FoldScale(),)


def _example(body: str, becomes: tuple[str, ...] | None, reason: str = "", outputs: str = "") -> Example:
    return Example(
        f"""<ir_version: 8, opset_import: ["": 17]>
        agraph (float[2,3] x, float[2,3] z, float[3,2] v) => (float[2,2] y{outputs})
          <float[3,2] w = {{1, 2, 3, 4, 5, 6}}, float[2] b = {{3, -2}}, float[2,3] t = {{1, 2, 3, 4, 5, 6}},
           float c = {{0.125}}, float[1] d = {{3}}, float[2] e = {{2, 5}}, float[2,1] column = {{1, 2}},
           float huge = {{3e38}}, float[3,3] s = {{1, 0, 2, 3, 1, 1, 0, 0, 5}}, float[3] r = {{1, 2, 3}}>
        {{ {body} }}""",
        becomes,
        reason,
    )


EXAMPLES = (
    _example("m = MatMul(x, w) y = Mul(m, c)", ("MatMul",)),
    _example("m = MatMul(x, w) a = Add(b, m) y = Div(a, d)", ("MatMul", "Add")),
    _example("m = MatMul(x, w) a = Add(m, b) y = Mul(e, a)", ("MatMul", "Add")),
    _example("m = Gemm <transB = 1, alpha = 0.5, beta = 2.0> (x, t, b) y = Mul(e, m)", ("Gemm",)),
    _example(
        "m = MatMul(x, s) q = Add(m, r) k = Transpose(z) a = MatMul(q, k) y = Div(a, d)",
        ("MatMul", "Add", "Transpose", "MatMul"),
    ),
    _example(
        "m = MatMul(z, s) k = Transpose(m) a = MatMul(x, k) n = Mul(a, c) y = Relu(n)",
        ("MatMul", "Transpose", "MatMul", "Relu"),
    ),
    _example("m = MatMul(x, w) a = Mul(m, c) y = Add(m, a)", None, "elsewhere"),
    _example("m = MatMul(x, w) y = Mul(m, c)", None, "elsewhere", outputs=", float[2,2] m"),
    _example("m = MatMul(x, w) y = Mul(m, column)", None, "other axes"),
    _example("m = MatMul(x, w) y = Mul(m, huge)", None, "finite"),
    _example("m = MatMul(x, v) y = Mul(m, c)", None),
)
