"""Compute what follows an embedding once for the whole table, not for every index at run time.

    Gather(T, i) @ W = Gather(T @ W, i);   Gather(T, i) * s + b = Gather(T * s + b, i);   f(T[i]) = f(T)[i]

Before:
    MatMul(Gather(T, i), W), Add(Gather(T, i), b); also Sub, Mul and Div;
    Relu, Sigmoid, Tanh, Erf, Gelu and com.microsoft.FastGelu of Gather(T, i)
After:
    Gather(T', i)

Weights: T is (V, K), W is (K, N), s and b have the shape () or (..., 1, K); T' is (V, N), computed in
float64, stored in the type of T.

Does not apply when:
    - T' would be larger than T and the other constant together (a projection that widens a large table),
    - T or the row is read elsewhere too, or an operand is computed,
    - T' is not finite, or would take more than 2 * 10^9 operations to compute.

Source: linearity of row selection; ALBERT's factorized embedding (Lan et al. 2019, section 3.1) folded back.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial

import numpy as np
import onnx_ir
from numpy.typing import NDArray

from edgeopt.graph.constants import add_initializer, array_of
from edgeopt.graph.editing import ELSEWHERE, before, is_shared, made, replace
from edgeopt.graph.flops import sizes
from edgeopt.graph.matching import Found, Refusal
from edgeopt.graph.rewrites import Example

ORDER = 55
EXACT = True
RTOL = 1e-5

MAX_OPERATIONS = 2_000_000_000

_Function = Callable[[NDArray[np.float64], NDArray[np.float64]], NDArray[np.float64]]
_FUNCTIONS: dict[str, _Function] = {
    "MatMul": np.matmul, "Add": np.add, "Sub": np.subtract, "Mul": np.multiply, "Div": np.divide,
}  # fmt: skip


def _sigmoid(x: NDArray[np.float64]) -> NDArray[np.float64]:
    return np.asarray(0.5 * (1 + np.tanh(0.5 * x)))


def _erf(x: NDArray[np.float64]) -> NDArray[np.float64]:
    from scipy.special import erf  # a tenth of a second to import

    return np.asarray(erf(x))


def _gelu(x: NDArray[np.float64]) -> NDArray[np.float64]:
    return np.asarray(0.5 * x * (1 + _erf(x / np.sqrt(2))))


def _tanh_gelu(x: NDArray[np.float64]) -> NDArray[np.float64]:
    return np.asarray(0.5 * x * (1 + np.tanh(np.sqrt(2 / np.pi) * (x + 0.044715 * x**3))))


_OF_ONE: dict[tuple[str, str], Callable[[NDArray[np.float64]], NDArray[np.float64]]] = {
    ("", "Relu"): lambda x: np.maximum(x, 0), ("", "Sigmoid"): _sigmoid, ("", "Tanh"): np.tanh,
    ("", "Erf"): _erf, ("", "Gelu"): _gelu, ("com.microsoft", "Gelu"): _gelu,
    ("com.microsoft", "FastGelu"): _tanh_gelu,
}  # fmt: skip


class FunctionOfGather:
    """A function of each number that a Gather takes out of a constant table."""

    def find(self, model: onnx_ir.Model, node: onnx_ir.Node) -> Found | Refusal | None:
        """See `edgeopt.graph.rewrites.Rule`."""
        function = _OF_ONE.get((node.domain, node.op_type))
        gather = before(node.inputs[0], {"Gather"}) if function is not None else None
        table = array_of(gather.inputs[0]) if gather is not None else None
        if function is None or gather is None or table is None or table.dtype.kind != "f":
            return None
        if any(value is not None for value in node.inputs[1:]):
            return Refusal("it adds a bias of its own")
        if is_shared(gather.outputs[0]) or gather.inputs[0] is None or is_shared(gather.inputs[0]):
            return ELSEWHERE
        if node.attributes.get_string("approximate", "none") == "tanh":
            function = _tanh_gelu
        return Found((gather, node), partial(_apply, model.graph, node, gather, table, function))


def _apply(
    graph: onnx_ir.Graph,
    node: onnx_ir.Node,
    gather: onnx_ir.Node,
    table: NDArray[np.generic],
    function: Callable[[NDArray[np.float64]], NDArray[np.float64]],
) -> Sequence[onnx_ir.Node] | None:
    with np.errstate(all="ignore"):
        computed = function(table.astype(np.float64)).astype(table.dtype)
    return _gathered(graph, node, gather, computed) if np.isfinite(computed).all() else None


def _gathered(
    graph: onnx_ir.Graph, node: onnx_ir.Node, gather: onnx_ir.Node, table: NDArray[np.generic]
) -> Sequence[onnx_ir.Node]:
    output = node.outputs[0]
    weight = add_initializer(graph, f"{output.name}_table", table)
    new = made("Gather", [weight, gather.inputs[1]], sizes(output), output.dtype, gather.attributes.values())
    return replace(graph, node, [new])


class GatherOfConstant:
    """A function of the rows that a Gather takes out of a constant table."""

    def find(self, model: onnx_ir.Model, node: onnx_ir.Node) -> Found | Refusal | None:
        """See `edgeopt.graph.rewrites.Rule`."""
        if node.op_type not in _FUNCTIONS or node.domain:
            return None
        for position in (0,) if node.op_type == "MatMul" else (0, 1):
            gather = before(node.inputs[position], {"Gather"})
            table = array_of(gather.inputs[0]) if gather is not None else None
            if gather is None or table is None or table.ndim != 2 or table.dtype.kind != "f":
                continue
            if gather.attributes.get_int("axis", 0) != 0:
                continue
            return _with_table(model, node, position, gather, table)
        return None


def _with_table(
    model: onnx_ir.Model, node: onnx_ir.Node, position: int, gather: onnx_ir.Node, table: NDArray[np.generic]
) -> Found | Refusal:
    rows, source = sizes(gather.outputs[0]), gather.inputs[0]
    other = array_of(node.inputs[1 - position])
    if other is None or rows is None or source is None:
        return Refusal("its other operand is computed, or a shape is not known")
    if is_shared(gather.outputs[0]) or is_shared(source):
        return ELSEWHERE
    if node.op_type == "MatMul":
        fits = other.ndim == 2
        wide = other.shape[-1] if fits else 0
    else:
        fits = other.ndim <= len(rows) and all(size == 1 for size in other.shape[:-1])
        wide = table.shape[1]
    if not fits or other.dtype != table.dtype or (other.ndim and other.shape[-1] > table.shape[1] > wide):
        return Refusal("its other operand differs from row to row")
    if table.shape[0] * wide > table.size + other.size:
        return Refusal("the table would become larger")
    if 2 * table.size * wide > MAX_OPERATIONS:
        return Refusal("the table is too large to compute ahead of time")
    if node.op_type != "MatMul" and sizes(node.outputs[0]) != rows:
        return Refusal("its other operand differs from row to row")
    return Found((gather, node), partial(_fold, model.graph, node, position, gather, table, other))


def _fold(
    graph: onnx_ir.Graph,
    node: onnx_ir.Node,
    position: int,
    gather: onnx_ir.Node,
    table: NDArray[np.generic],
    other: NDArray[np.generic],
) -> Sequence[onnx_ir.Node] | None:
    operands = [table.astype(np.float64), other.astype(np.float64)]
    if other.ndim > table.ndim:
        operands[1] = operands[1].reshape(other.shape[-1])
    with np.errstate(all="ignore"):
        computed = _FUNCTIONS[node.op_type](*(operands if position == 0 else operands[::-1]))
        folded = computed.astype(table.dtype)
    if not np.isfinite(folded).all():
        return None
    return _gathered(graph, node, gather, folded)


RULES = (GatherOfConstant(), FunctionOfGather())


def _example(body: str, becomes: tuple[str, ...] | None, reason: str = "", columns: int = 2) -> Example:
    return Example(
        f"""<ir_version: 8, opset_import: ["": 17]>
        agraph (int64[1,2] i, float[2] z) => (float[1,2,{columns}] y)
        <float[3,2] table = {{1, 2, 3, 4, 5, 6}}, float[2,2] w = {{1, -1, 2, 1}}, float[2] b = {{1, 2}},
         float two = {{2}}, float[2,3] wide = {{1, 2, 3, 4, 5, 6}}, float[1,2,2] each = {{1, 2, 3, 4}},
         float[1,2,1] rows = {{1, 2}}>
        {{ g = Gather(table, i) {body} }}""",
        becomes,
        reason,
    )


EXAMPLES = (
    _example("y = MatMul(g, w)", ("Gather",)),
    _example("m = Mul(two, g) n = MatMul(m, w) y = Sub(b, n)", ("Gather",)),
    _example("y = Add(g, each)", None, "row to row"),
    _example("y = Add(g, rows)", None, "row to row"),
    _example("y = Add(g, z)", None, "computed"),
    _example("m = Mul(g, g) y = Add(m, b)", None, ""),
    _example("y = Sub(b, g)", ("Gather",)),
    _example("s = Sigmoid(g) y = Tanh(s)", ("Gather",)),
    _example("m = Add(g, b) y = Relu(m)", ("Gather",)),
    _example("m = Neg(g) y = Relu(m)", None, ""),
)
