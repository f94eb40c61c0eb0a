"""Reads arithmetic upward from its last node, and puts one operator in the place of what was read.

Exporters write the same formula in many orders: `x * 0.5 * (1 + e)`, `(x * (e + 1)) / 2`. Read as products
of factors and sums of terms, they are all one.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
import onnx_ir
from numpy.typing import NDArray

from edgeopt.graph.constants import add_initializer, scalar_of
from edgeopt.graph.contributed import DOMAIN
from edgeopt.graph.flops import sizes
from edgeopt.graph.matching import SHARED, Found, Refusal, is_shared, made, splice

REAL = (onnx_ir.DataType.FLOAT, onnx_ir.DataType.DOUBLE)

Attribute = int | float | str | Sequence[int]

_DEEPEST = 8
"""No formula that is looked for here is written with more operators in a row."""


@dataclass(slots=True)
class Read:
    """A formula that was read: `number * factors[0] * ...` or `number + terms[0] + ...`.

    Attributes:
        number: All constants of one element together.
        parts: The factors or terms that are no such constant; one that appears twice is there twice.
        nodes: That compute it.
    """

    number: float
    parts: list[onnx_ir.Value] = field(default_factory=list)
    nodes: list[onnx_ir.Node] = field(default_factory=list)


def producer(value: onnx_ir.Value | None, *operators: str) -> onnx_ir.Node | None:
    """The node that computes a value, if it is one of these standard operators."""
    node = value.producer() if value is not None else None
    return node if node is not None and not node.domain and node.op_type in operators else None


def product_of(value: onnx_ir.Value) -> Read:
    """A value as a product, through Mul, Div by a number, Neg and small powers.

    Values on the way that are read more than once are factors themselves.
    """
    read = Read(1.0)
    _multiply(read, value, _DEEPEST, is_root=True)
    return read


def _multiply(read: Read, value: onnx_ir.Value, depth: int, *, is_root: bool = False) -> None:
    node = producer(value, "Mul", "Div", "Neg", "Pow")
    number = scalar_of(value)
    if number is not None:
        read.number *= number
    elif node is None or not depth or (not is_root and is_shared(value)):
        read.parts.append(value)
    elif node.op_type == "Mul":
        read.nodes.append(node)
        for factor in node.inputs:
            if factor is not None:
                _multiply(read, factor, depth - 1)
    elif node.op_type == "Neg" and node.inputs[0] is not None:
        read.nodes.append(node)
        read.number = -read.number
        _multiply(read, node.inputs[0], depth - 1)
    elif (by := scalar_of(node.inputs[1])) and node.op_type == "Div" and node.inputs[0] is not None:
        read.nodes.append(node)
        read.number /= by
        _multiply(read, node.inputs[0], depth - 1)
    elif by in (2.0, 3.0) and node.op_type == "Pow" and node.inputs[0] is not None:
        read.nodes.append(node)
        read.parts += [node.inputs[0]] * int(by)
    else:
        read.parts.append(value)


def sum_of(value: onnx_ir.Value) -> Read:
    """A value as a sum, through Add and Sub of a number; see `product_of`."""
    read = Read(0.0)
    _add(read, value, _DEEPEST, is_root=True)
    return read


def _add(read: Read, value: onnx_ir.Value, depth: int, *, is_root: bool = False) -> None:
    node = producer(value, "Add", "Sub")
    number = scalar_of(value)
    if number is not None:
        read.number += number
    elif node is None or not depth or (not is_root and is_shared(value)):
        read.parts.append(value)
    elif node.op_type == "Add":
        read.nodes.append(node)
        for term in node.inputs:
            if term is not None:
                _add(read, term, depth - 1)
    elif (by := scalar_of(node.inputs[1])) is not None and node.inputs[0] is not None:
        read.nodes.append(node)
        read.number -= by
        _add(read, node.inputs[0], depth - 1)
    else:
        read.parts.append(value)


def reader_of(value: onnx_ir.Value) -> onnx_ir.Node | None:
    """The one node that reads a value, once; None where there are more, or the caller sees it."""
    uses = value.uses()
    return None if value.is_graph_output() or len(uses) != 1 else next(iter(uses)).node


def is_close(number: float | None, expected: float, tolerance: float = 1e-4) -> bool:
    """Whether a constant is what the formula has, up to how exporters round it."""
    return number is not None and abs(number - expected) <= tolerance * abs(expected)


def smallest_normal(dtype: np.dtype[np.generic]) -> float:
    """Below it, numbers of a floating-point type lose digits."""
    return float(np.finfo(str(dtype)).smallest_normal)


def ints_of(node: onnx_ir.Node, name: str, index: int) -> list[int] | None:
    """Integers that are an attribute in old opsets and a constant input in new ones; None: neither."""
    if (given := node.attributes.get_ints(name, None)) is not None:
        return list(given)
    value = node.inputs[index] if index < len(node.inputs) else None
    if value is None or value.const_value is None or not value.is_initializer():
        return None
    return [int(number) for number in value.const_value.numpy().reshape(-1)]


def opset_of(model: onnx_ir.Model) -> int:
    """Version of the standard operators."""
    return model.graph.opset_imports.get("", 1)


def contributed(
    operator: str,
    inputs: Sequence[onnx_ir.Value | None],
    like: onnx_ir.Value,
    attributes: Mapping[str, Attribute] | None = None,
    *,
    outputs: int = 1,
) -> onnx_ir.Node:
    """A new node of onnxruntime's own operators, whose first output is shaped as `like`."""
    return made(operator, inputs, attributes or {}, sizes(like), like.dtype, domain=DOMAIN, outputs=outputs)


def constant(graph: onnx_ir.Graph, name: str, array: NDArray[np.generic]) -> onnx_ir.Value:
    """A new constant, stored in one piece."""
    return add_initializer(graph, name, np.ascontiguousarray(array).reshape(array.shape))


def replacement(
    graph: onnx_ir.Graph,
    old: Sequence[onnx_ir.Node],
    results: Sequence[onnx_ir.Value],
    make: Callable[[], tuple[Sequence[onnx_ir.Node], Sequence[onnx_ir.Value]]],
    *,
    after: onnx_ir.Node | None = None,
) -> Found | Refusal:
    """Replace nodes by others, where nobody reads what is lost.

    Args:
        old: All nodes of the formula.
        results: Computed by `old`; they keep their names and their readers.
        make: The new nodes in order, and what stands for each of `results`.
        after: The new nodes follow this one; by default the node of the first result.
    """
    nodes = tuple(dict.fromkeys(old))
    if is_read_outside(nodes, results):
        return SHARED
    root = after if after is not None else results[0].producer()
    if root is None:
        raise ValueError(f"{results[0].name} is not computed")

    def replace() -> Sequence[onnx_ir.Node]:
        new, values = make()
        for node in new:
            if node.domain:
                graph.opset_imports.setdefault(node.domain, 1)
        splice(graph, root, nodes, new, results, values)
        return list(new)

    return Found(nodes, replace)


def fused(
    graph: onnx_ir.Graph,
    old: Sequence[onnx_ir.Node],
    result: onnx_ir.Value,
    make: Callable[[], onnx_ir.Node],
) -> Found | Refusal:
    """Replace nodes by one; see `replacement`."""

    def one() -> tuple[Sequence[onnx_ir.Node], Sequence[onnx_ir.Value]]:
        node = make()
        return [node], [node.outputs[0]]

    return replacement(graph, old, [result], one)


def is_read_outside(nodes: Collection[onnx_ir.Node], kept: Collection[onnx_ir.Value]) -> bool:
    """Whether a value that `nodes` compute, other than `kept`, is read by others or by the caller."""
    inside = set(nodes)
    return any(
        output.is_graph_output() or any(user not in inside for user, _ in output.uses())
        for node in nodes
        for output in node.outputs
        if output not in kept
    )
