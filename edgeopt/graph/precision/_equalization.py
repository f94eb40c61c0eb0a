"""Cross-layer equalization: channels of unequal size are scaled, so that one int8 scale fits all of them.

For two layers joined by f with f(s x) = s f(x) for s > 0:

    y = W2 f(W1 x + b1)  =  (W2 S) f(S^-1 W1 x + S^-1 b1)      S = diag(s),  s_i = sqrt(r1_i / r2_i)

where r1_i is the largest weight of output channel i of the first, r2_i that of input channel i of the second:
both become sqrt(r1_i r2_i). s is a power of two, so that in float32 nothing changes at all (but in numbers
below 1e-38), and never so small that a channel exceeds what the tensor between had: its range does not grow.

It is a way to quantize, decided with `quantization:equalized`, and no rewrite: a rewrite would change tensors
whose ranges are known, and static int8 would have to leave them in float32.

First: Conv, Gemm. Second: Conv with one group, depthwise Conv, Gemm. Between: Relu, LeakyRelu, MaxPool,
AveragePool, GlobalAveragePool, Flatten of 1 x 1 maps, or nothing. So a depthwise Conv between two others is
the second of one pair and the first of another.

Does not apply where a tensor between has another reader, is an output, or was made by a rewrite (the
extremes of its channels are not known); to layers that are not static int8; through Clip (ReLU6) and other
activations.

Source: Nagel et al. 2019 (arXiv:1906.04721), section 4.1, equations 9 to 11.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import onnx_ir as ir
from numpy.typing import NDArray

from edgeopt.graph.flops import sizes
from edgeopt.graph.moments import Statistics
from edgeopt.graph.precision import _qdq
from edgeopt.graph.precision._arithmetic import Floats
from edgeopt.graph.precision._weights import Weights, constant, operand

BETWEEN = frozenset({"Relu", "LeakyRelu", "MaxPool", "AveragePool", "GlobalAveragePool"})

SWEEPS = 2
"""A layer in the middle of a chain is scaled on both sides: what the second pair did changes the first."""


@dataclass(frozen=True, slots=True)
class Pair:
    """Two layers whose channels may be scaled.

    Attributes:
        tensors: Names of what lies between, in order; the second layer reads the last.
    """

    first: ir.Node
    second: ir.Node
    tensors: Sequence[str]


def pairs(graph: ir.Graph, is_static: Callable[[ir.Node], bool]) -> list[Pair]:
    """The pairs of layers of a graph, in order.

    Args:
        is_static: Whether a node is to be static int8.
    """
    found = []
    for node in graph:
        if node.op_type in ("Conv", "Gemm") and _qdq.has_weight(node) and is_static(node):
            pair = _pair(node, graph, is_static)
            if pair is not None:
                found.append(pair)
    return found


def equalize(
    graph: ir.Graph, found: Sequence[Pair], weights: Weights, statistics: Statistics
) -> dict[str, Floats]:
    """Scale the weights of pairs of layers.

    Args:
        graph: Changed in place: the layers read weights of their own.
        found: Its pairs.
        statistics: Prepared for all tensors of the pairs.

    Returns:
        Tensor -> by what each of its channels was divided.
    """
    divided: dict[str, Floats] = {}
    for _ in range(SWEEPS):
        for pair in found:
            scale = _scale(pair, weights, statistics, divided)
            if scale is None or (scale == 1).all():
                continue
            inverse = np.reciprocal(scale)
            _multiply(graph, pair.first, 1, _out_axis(pair.first), inverse, weights)
            if len(pair.first.inputs) > 2 and pair.first.inputs[2] is not None:
                _multiply(graph, pair.first, 2, -1, inverse, weights)
            _multiply(graph, pair.second, 1, _in_axis(pair.second), scale, weights)
            for name in pair.tensors:
                divided[name] = divided[name] * scale if name in divided else scale
    return divided


def range_of(tensor: str, divided: Floats, statistics: Statistics) -> tuple[float, float] | None:
    """The range of a tensor whose channels were divided; None if it is not known."""
    extremes = statistics.extremes(tensor)
    if extremes is None:
        return None
    return float((extremes[0] / divided).min()), float((extremes[1] / divided).max())


def _pair(node: ir.Node, graph: ir.Graph, is_static: Callable[[ir.Node], bool]) -> Pair | None:
    bias = constant((*node.inputs, None)[2])
    weight = operand(node, 1)
    tensor = constant(weight)
    if tensor is None or (bias is None and (*node.inputs, None)[2] is not None):
        return None
    channels = tensor.numpy().shape[_out_axis(node)]
    if bias is not None and (bias.size != channels or bias.shape[-1] != channels):
        return None
    value, names = node.outputs[0], []
    while True:
        uses = tuple(value.uses())
        if len(uses) != 1 or value.is_graph_output():
            return None
        user, index = uses[0]
        names.append(str(value.name))
        if user.domain or user.graph is not graph or index != 0:
            return None
        if _qdq.has_weight(user) and is_static(user) and _takes(user, channels):
            return Pair(node, user, names)
        if user.op_type not in BETWEEN and not _is_flat(user):
            return None
        if any(other.uses() or other.is_graph_output() for other in user.outputs[1:]):
            return None
        value = user.outputs[0]


def _takes(node: ir.Node, channels: int) -> bool:
    if node.op_type == "MatMul":
        return False
    tensor = constant(operand(node, 1))
    group = node.attributes.get_int("group", 1) or 1
    if tensor is None or (node.op_type == "Conv" and group != 1 and group != channels):
        return False
    return bool(tensor.numpy().shape[_in_axis(node)] == channels)


def _is_flat(node: ir.Node) -> bool:
    read = sizes(node.inputs[0])
    return (
        node.op_type == "Flatten"
        and node.attributes.get_int("axis", 1) == 1
        and read is not None
        and all(size == 1 for size in read[2:])
    )


def _scale(pair: Pair, weights: Weights, statistics: Statistics, divided: dict[str, Floats]) -> Floats | None:
    """A power of two for each channel; None where something is not known or not finite."""
    first, second = (weights.floats(operand(node, 1)) for node in (pair.first, pair.second))
    if first is None or second is None:
        return None
    own, taken = _largest(first, _out_axis(pair.first)), _largest(second, _in_axis(pair.second))
    least = np.zeros(len(own))
    for name in pair.tensors:
        extremes = statistics.extremes(name)
        if extremes is None or len(extremes[0]) != len(own) or not np.isfinite(extremes).all():
            return None
        reach = np.maximum(-extremes[0], extremes[1]).astype(np.float64) / divided.get(name, 1.0)
        most = max(float(reach.max()), float(np.finfo(np.float32).tiny))
        least = np.maximum(least, reach / most)
    both = (own > 0) & (taken > 0)
    wanted = np.sqrt(np.where(both, own, 1.0) / np.where(both, taken, 1.0))
    power = np.rint(np.log2(wanted))
    with np.errstate(divide="ignore"):
        power = np.maximum(power, np.ceil(np.log2(least)))
    scale = np.where(both, np.exp2(np.clip(power, -24, 24)), 1.0)
    return scale.astype(np.float32)


def _largest(weight: Floats, axis: int) -> NDArray[np.float64]:
    others = tuple(index for index in range(weight.ndim) if index != axis)
    largest: NDArray[np.float64] = np.abs(weight).max(axis=others).astype(np.float64)
    return largest


def _multiply(graph: ir.Graph, node: ir.Node, index: int, axis: int, scale: Floats, weights: Weights) -> None:
    value = operand(node, index)
    tensor = weights.multiplied(value, axis, scale)
    name, number = f"{value.name}", 1
    taken = {str(v) for v in graph.initializers}
    while name in taken:
        number += 1
        name = f"{str(value.name).removesuffix('__equalized')}__equalized{number}"
    made = ir.Value(
        name=name,
        type=ir.TensorType(ir.DataType.FLOAT),
        shape=ir.Shape(tensor.numpy().shape),
        const_value=tensor,
    )
    graph.register_initializer(made)
    node.replace_input_with(index, made)


def _out_axis(node: ir.Node) -> int:
    return 0 if node.op_type == "Conv" or node.attributes.get_int("transB", 0) == 1 else 1


def _in_axis(node: ir.Node) -> int:
    if node.op_type == "Conv":
        return 1 if (node.attributes.get_int("group", 1) or 1) == 1 else 0
    return 1 - _out_axis(node)
