"""Reads layer and root mean square normalisations that are written in pieces."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import onnx_ir
from numpy.typing import NDArray

from edgeopt.graph.constants import array_of, scalar_of
from edgeopt.graph.expressions import ints_of, producer, product_of, reader_of, sum_of
from edgeopt.graph.flops import sizes
from edgeopt.graph.matching import Refusal

NOT_LAST = Refusal("it is not over the last axes")


@dataclass(slots=True)
class Normalized:
    """`numerator / sqrt(mean(numerator^2) + epsilon)`, times a scale, plus a shift.

    Attributes:
        numerator: That is divided.
        axis: First of the axes that the mean is over; all after it are too.
        epsilon: See above.
        scale: Constant of the shape of these axes; None: 1.
        shift: See `scale`; None: 0.
        nodes: Of all that, in no order.
    """

    numerator: onnx_ir.Value
    axis: int
    epsilon: float
    nodes: list[onnx_ir.Node]
    scale: NDArray[np.generic] | None = None
    shift: NDArray[np.generic] | None = None


def normalized(node: onnx_ir.Node) -> Normalized | Refusal | None:
    """A normalisation that ends at `node`; None where it is none, or where its last part is still to come."""
    core = _core(node)
    if isinstance(core, Normalized):
        return None if _extended(node, core, "Mul", "Add") is not None else core
    if core is not None or node.op_type == "Div" or node.domain:
        return core
    for inner, other in ((0, 1), (1, 0)):
        before = producer(node.inputs[inner], "Mul", "Div", "Add")
        if before is None or reader_of(before.outputs[0]) is not node:
            continue
        core = _core(before)
        if isinstance(core, Refusal) and array_of(node.inputs[other]) is not None:
            return None  # told at `before` already
        if isinstance(core, Normalized):
            attached = _attach(core, node, node.inputs[other])
            longer = attached is not None and attached.shift is None
            return None if longer and _extended(node, core, "Add") is not None else attached
        if node.op_type == "Add" and before.op_type == "Mul":
            for position in (0, 1):
                scaled = _scaled(before, position)
                if scaled is not None:
                    return _attach(scaled, node, node.inputs[other])
    return None


def _scaled(node: onnx_ir.Node, position: int) -> Normalized | None:
    before = producer(node.inputs[position], "Mul", "Div")
    if before is None or reader_of(before.outputs[0]) is not node:
        return None
    core = _core(before)
    return _attach(core, node, node.inputs[1 - position]) if isinstance(core, Normalized) else None


def _extended(node: onnx_ir.Node, core: Normalized, *operators: str) -> onnx_ir.Node | None:
    """The next node, where it is the scale or the shift of this normalisation."""
    reader = reader_of(node.outputs[0])
    if reader is None or reader.domain or reader.op_type not in operators or reader.graph is not node.graph:
        return None
    other = reader.inputs[1] if reader.inputs[0] is node.outputs[0] else reader.inputs[0]
    return None if _attach(core, reader, other) is None else reader


def _attach(core: Normalized, node: onnx_ir.Node, constant: onnx_ir.Value | None) -> Normalized | None:
    """`core` with the scale (Mul) or shift (Add) of `node`; None where that is not a constant that fits."""
    array, shape = array_of(constant), sizes(core.numerator)
    if array is None or shape is None:
        return None
    inner = shape[core.axis :]
    while array.ndim > len(inner) and array.shape[0] == 1:
        array = array.reshape(array.shape[1:])
    if array.ndim > len(inner):
        return None
    try:
        full = np.ascontiguousarray(np.broadcast_to(array, inner))
    except ValueError:
        return None
    scale, shift = (full, core.shift) if node.op_type == "Mul" else (core.scale, full)
    return Normalized(core.numerator, core.axis, core.epsilon, [*core.nodes, node], scale, shift)


def _core(node: onnx_ir.Node) -> Normalized | Refusal | None:
    """`d / sqrt(mean(d^2) + epsilon)`, ending in a Div or a Mul."""
    if node.domain or node.op_type not in ("Div", "Mul") or len(node.inputs) != 2:
        return None
    if node.op_type == "Div":
        return _over(node, node.inputs[0], _root(node.inputs[1]))
    for numerator, factor in (node.inputs, reversed(node.inputs)):
        found = _inverse_root(factor)
        if found is not None:
            return _over(node, numerator, found)
    return None


_Root = tuple[onnx_ir.Value, list[onnx_ir.Node]]


def _root(value: onnx_ir.Value | None) -> _Root | None:
    """What the square root is taken of."""
    node = producer(value, "Sqrt", "Pow")
    if node is None or node.inputs[0] is None:
        return None
    if node.op_type == "Pow" and scalar_of(node.inputs[1]) != 0.5:
        return None
    return node.inputs[0], [node]


def _inverse_root(value: onnx_ir.Value | None) -> _Root | None:
    node = producer(value, "Reciprocal", "Div", "Pow")
    if node is None or node.inputs[0] is None:
        return None
    if node.op_type == "Pow":
        return (node.inputs[0], [node]) if scalar_of(node.inputs[1]) == -0.5 else None
    if node.op_type == "Div" and scalar_of(node.inputs[0]) != 1.0:
        return None
    found = _root(node.inputs[-1])
    return None if found is None else (found[0], [node, *found[1]])


def _over(
    node: onnx_ir.Node, numerator: onnx_ir.Value | None, root: _Root | None
) -> Normalized | Refusal | None:
    if root is None or numerator is None:
        return None
    total = sum_of(root[0])
    mean = producer(total.parts[0], "ReduceMean") if len(total.parts) == 1 else None
    if mean is None or mean.inputs[0] is None or total.number <= 0:
        return None
    square = product_of(mean.inputs[0])
    if square.number != 1.0 or len(square.parts) != 2 or square.parts[0] is not square.parts[1]:
        return None
    spread = square.parts[0]
    nodes = [node, *root[1], *total.nodes, mean, *square.nodes]
    if spread is not numerator:
        twin = _same_difference(spread, numerator)
        if twin is None:
            return None
        nodes += twin
    axis = first_axis(mean)
    return NOT_LAST if axis is None else Normalized(numerator, axis, total.number, nodes)


def _same_difference(one: onnx_ir.Value, other: onnx_ir.Value) -> list[onnx_ir.Node] | None:
    """The node of `one`, where both subtract the same from the same: some exporters write that twice."""
    first, second = producer(one, "Sub"), producer(other, "Sub")
    if first is None or second is None or tuple(first.inputs) != tuple(second.inputs):
        return None
    return [first]


def first_axis(mean: onnx_ir.Node) -> int | None:
    """The first of the axes that a ReduceMean is over, where they are the last ones, and are kept."""
    shape, axes = sizes(mean.inputs[0]), ints_of(mean, "axes", 1)
    if shape is None or not axes or not mean.attributes.get_int("keepdims", 1):
        return None
    named = sorted(axis % len(shape) for axis in axes)
    return named[0] if named == list(range(named[0], len(shape))) else None


def centred(value: onnx_ir.Value, axis: int) -> tuple[onnx_ir.Value, list[onnx_ir.Node]] | None:
    """x and the nodes, where a value is `x - mean(x)` over the axes from `axis` on."""
    sub = producer(value, "Sub")
    mean = producer(sub.inputs[1], "ReduceMean") if sub is not None else None
    if sub is None or mean is None or sub.inputs[0] is None or mean.inputs[0] is not sub.inputs[0]:
        return None
    return (sub.inputs[0], [sub, mean]) if first_axis(mean) == axis else None
