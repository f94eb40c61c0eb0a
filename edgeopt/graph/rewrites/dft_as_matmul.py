"""Write a discrete Fourier transform of fixed length as a matrix product.

    DFT(x)[k] = sum_n x[n] exp(-2 pi i k n / N)         inverse: exp(+...) / N

Before:
    DFT(x)          along the axis before the last, x is (..., N, 1) or (..., N, 2)
After:
    Reshape(MatMul(Reshape(x), basis))

Weights: the basis is (N, 2 * bins) for a real signal, (2 * N, 2 * bins) for a complex one, real and imaginary
parts in turn, computed in float64; bins = N / 2 + 1 if onesided, else N. At most 8 MiB.

Does not apply when:
    - the axis is another one, the length is computed or not N, or the signal is not float32 of known shape,
    - it is an inverse transform that is onesided,
    - the basis would be larger than 8 MiB.

It replaces N log N by N * bins operations: which is faster depends on N.

Source: ONNX DFT-17 and DFT-20.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from functools import partial

import numpy as np
import onnx_ir

from edgeopt.graph.constants import add_initializer, scalar_of
from edgeopt.graph.editing import input_at, made, made_reshape, opset_of, replace
from edgeopt.graph.flops import sizes
from edgeopt.graph.matching import Found, Refusal
from edgeopt.graph.rewrites import Example

ORDER = 46
EXACT = True
SITUATIONAL = True
RTOL = 1e-4

MAX_BYTES = 8 << 20


class DftAsMatMul:
    """A DFT along the axis before the last."""

    def find(self, model: onnx_ir.Model, node: onnx_ir.Node) -> Found | Refusal | None:
        """See `edgeopt.graph.rewrites.Rule`."""
        if node.op_type != "DFT" or node.domain or node.inputs[0] is None:
            return None
        shape, result = sizes(node.inputs[0]), sizes(node.outputs[0])
        if shape is None or result is None or node.inputs[0].dtype != onnx_ir.DataType.FLOAT:
            return Refusal("the signal is not float32 of known shape")
        if _axis(node, len(shape)) != len(shape) - 2:
            return Refusal("it is not along the axis before the last")
        length = input_at(node, 1)
        if length is not None and scalar_of(length) != shape[-2]:
            return Refusal("its length is computed, or not that of the axis")
        inverse = node.attributes.get_int("inverse", 0) == 1
        if inverse and node.attributes.get_int("onesided", 0) == 1:
            return Refusal("it is inverse and onesided")
        if math.prod(shape[-2:]) * 2 * result[-2] * 4 > MAX_BYTES:
            return Refusal("the basis would be too large")
        return Found((node,), partial(_multiply, model.graph, node, shape, result, inverse))


def _axis(node: onnx_ir.Node, rank: int) -> int | None:
    """An attribute (default 1) before opset 20; since then an input (default: the one before the last)."""
    if opset_of(node) < 20:
        return node.attributes.get_int("axis", 1) % rank
    given = input_at(node, 2)
    number = scalar_of(given) if given is not None else -2
    return None if number is None else int(number) % rank


def _multiply(
    graph: onnx_ir.Graph,
    node: onnx_ir.Node,
    shape: tuple[int, ...],
    result: tuple[int, ...],
    inverse: bool,
) -> Sequence[onnx_ir.Node]:
    signal, name, dtype = node.inputs[0], str(node.outputs[0].name), node.outputs[0].dtype
    if signal is None:
        return []
    count, bins = shape[-2], result[-2]
    angles = 2 * np.pi * np.outer(np.arange(count), np.arange(bins)) / count
    turn = np.exp((1j if inverse else -1j) * angles) / (count if inverse else 1)  # (N, bins)
    basis = np.empty((count, shape[-1], bins, 2))
    for part, factor in enumerate((1, 1j)[: shape[-1]]):
        basis[:, part, :, 0], basis[:, part, :, 1] = (factor * turn).real, (factor * turn).imag
    matrix = basis.reshape(count * shape[-1], bins * 2).astype(np.float32)
    weight = add_initializer(graph, f"{name}_basis", matrix)
    rows = math.prod(shape[:-2])
    flat = made_reshape(graph, signal, (rows, count * shape[-1]), f"{name}_signal")
    product = made("MatMul", [flat.outputs[0], weight], (rows, bins * 2), dtype)
    return replace(
        graph, node, [flat, product, made_reshape(graph, product.outputs[0], result, f"{name}_bins")]
    )


RULES = (DftAsMatMul(),)


def _example(
    opset: int, signal: str, dft: str, becomes: tuple[str, ...] | None, reason: str = "", out: str = "2,4,2"
) -> Example:
    return Example(
        f"""<ir_version: 9, opset_import: ["": {opset}]> agraph (float[{signal}] x) => (float[{out}] y)
        <int64 first = {{0}}, int64 longer = {{6}}> {{ y = DFT {dft} }}""",
        becomes,
        reason,
    )


_PRODUCT = ("Reshape", "MatMul", "Reshape")

EXAMPLES = (
    _example(17, "2,4,1", "<axis = 1> (x)", _PRODUCT),
    _example(17, "2,4,1", "<onesided = 1> (x)", _PRODUCT, out="2,3,2"),
    _example(20, "2,4,2", "<inverse = 1> (x)", _PRODUCT),
    _example(20, "3,4,1", "(x, , first)", None, "before the last", out="3,4,2"),
    _example(20, "2,4,1", "(x, longer)", None, "length", out="2,6,2"),
)
