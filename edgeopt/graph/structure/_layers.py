"""Layers: what begins channels and what ends them. Conv, Gemm, MatMul, recurrences, embeddings.

Source: ONNX Conv-11, ConvTranspose-11, Gemm-13, MatMul-13, LSTM-14, GRU-14, Gather-13.
"""

from __future__ import annotations

import numpy as np
import onnx_ir as ir

from edgeopt.graph.editing import input_at
from edgeopt.graph.structure._channels import Channels, Numbers, Rules, Size, is_constant, shape_of

GATES = {"LSTM": 4, "GRU": 3, "RNN": 1}
"""Matrices of a recurrence, stacked in one constant."""


def _conv(found: Channels, node: ir.Node) -> bool:
    x, weight, bias = node.inputs[0], node.inputs[1], input_at(node, 2)
    if not is_constant(weight) or not (bias is None or is_constant(bias)):
        return False
    group, shape = node.attributes.get_int("group", 1) or 1, shape_of(weight)
    tracked = found.of_value(x)
    found.fix(x, (axis for axis in tracked if axis > 1))
    read = tracked.get(1)
    if node.op_type == "ConvTranspose":
        writes, reads, count = 1, 0, shape[1] * group
    else:
        writes, reads, count = 0, 1, shape[0]
    if group == 1:
        if read is not None:
            found.cut(node, 1, reads, read, "reads")
        written = found.new(count)
        found.cut(node, 1, writes, written, "writes")
    elif node.op_type == "Conv" and shape[1] == 1 and group == shape_of(x)[1]:  # depthwise
        source = read if read is not None else _fixed(found, group)
        written = source if count == group else np.repeat(source, count // group)
        found.cut(node, 1, 0, written, "passes")
        found.counts.append(Size(node, source, name="group"))
    else:
        if read is not None:
            found.fixed.append(read)
        written = _fixed(found, count)
    if bias is not None and group in (1, shape_of(x)[1]):
        found.cut(node, 2, 0, written, "passes")
    batch = {0: tracked[0]} if 0 in tracked else {}
    found.write(node.outputs[0], {**batch, 1: written})
    return True


def _gemm(found: Channels, node: ir.Node) -> bool:
    weight, bias = node.inputs[1], input_at(node, 2)
    if node.attributes.get_int("transA", 0) or not is_constant(weight):
        return False
    tracked, turned = found.of_value(node.inputs[0]), bool(node.attributes.get_int("transB", 0))
    found.fix(node.inputs[0], [0])
    if 1 in tracked:
        found.cut(node, 1, 1 if turned else 0, tracked[1], "reads")
    written = found.new(shape_of(node.outputs[0])[1])
    found.cut(node, 1, 0 if turned else 1, written, "writes")
    if bias is not None and shape_of(bias)[-1:] not in ((), (1,)):
        if is_constant(bias):
            found.cut(node, 2, len(shape_of(bias)) - 1, written, "passes")
        else:
            found.fixed.append(written)
            found.fix(bias)
    found.write(node.outputs[0], {1: written})
    return True


def _matmul(found: Channels, node: ir.Node) -> bool:
    left, right = node.inputs
    a, b, rank = shape_of(left), shape_of(right), len(shape_of(node.outputs[0]))
    if len(a) < 2 or len(b) < 2:
        return False
    if is_constant(right) and len(b) == 2:
        return _product(found, node, len(a))
    if is_constant(left) or is_constant(right):
        return False
    first, second = found.of_value(left), found.of_value(right)
    one, other_one = first.get(len(a) - 1), second.get(len(b) - 2)
    if one is not None and other_one is not None:
        found.tie(one, other_one)
    else:
        found.fixed += [numbers for numbers in (one, other_one) if numbers is not None]
    axes: dict[int, Numbers] = {}
    for value, tracked, shape, own in ((left, first, a, len(a) - 2), (right, second, b, len(b) - 1)):
        other, other_shape = (second, b) if value is left else (first, a)
        for axis, numbers in tracked.items():
            there = axis + rank - len(shape)
            if axis == own:
                axes[there] = numbers
            elif axis < len(shape) - 2:  # a batch axis of both
                beside = there - rank + len(other_shape)
                if beside >= 0 and other_shape[beside] > 1:
                    if beside in other:
                        found.tie(numbers, other[beside])
                    else:
                        found.fixed.append(numbers)
                axes.setdefault(there, numbers)
    found.write(node.outputs[0], axes)
    return True


def _product(found: Channels, node: ir.Node, rank: int) -> bool:
    """A MatMul with a constant matrix: a layer."""
    axes = dict(found.of_value(node.inputs[0]))
    read = axes.pop(rank - 1, None)
    if read is not None:
        found.cut(node, 1, 0, read, "reads")
    axes[rank - 1] = found.new(shape_of(node.inputs[1])[1])
    found.cut(node, 1, 1, axes[rank - 1], "writes")
    found.write(node.outputs[0], axes)
    return True


def _recurrence(found: Channels, node: ir.Node) -> bool:
    """One hidden unit is a row of each gate's matrices in both directions, and a column of the second."""
    gates = GATES[node.op_type]
    hidden = shape_of(node.inputs[2])[2]
    constant = [input_at(node, index) for index in (1, 2, 3, 7)]
    if node.attributes.get_int("layout", 0) or not all(v is None or is_constant(v) for v in constant):
        return False
    if node.attributes.get_int("hidden_size", 0) != hidden or "clip" in node.attributes:
        return False
    tracked = found.of_value(node.inputs[0])
    found.fix(node.inputs[0], [0, 1])
    if 2 in tracked:
        found.cut(node, 1, 2, tracked[2], "reads")
    units = found.new(hidden)
    found.cut(node, 1, 1, np.tile(units, gates), "writes")
    found.cut(node, 2, 1, np.tile(units, gates), "passes")
    found.cut(node, 2, 2, units, "reads")
    for index, matrices in ((3, 2 * gates), (7, 3)):  # biases, peepholes
        if input_at(node, index) is not None:
            found.cut(node, index, 1, np.tile(units, matrices), "passes")
    for index in (5, 6):  # where it begins
        begin = input_at(node, index)
        if is_constant(begin):
            found.cut(node, index, 2, units, "passes")
        elif begin is not None:
            found.fixed.append(units)
            found.fix(begin)
    found.counts.append(Size(node, units, name="hidden_size"))
    for output in node.outputs:
        if output.name:
            found.write(output, {len(shape_of(output)) - 1: units})
    return True


def _gather(found: Channels, node: ir.Node) -> bool:
    """Rows of a table (an embedding), or an index along an axis that is not followed."""
    data, places = node.inputs
    rank, indexed = len(shape_of(data)), len(shape_of(places))
    axis = (node.attributes.get_int("axis", 0) or 0) % rank
    found.fix(places)
    if is_constant(data):
        if axis != 0 or rank != 2:
            return False
        written = found.new(shape_of(data)[1])
        found.cut(node, 0, 1, written, "writes")
        found.write(node.outputs[0], {indexed: written})
        return True
    tracked = found.of_value(data)
    found.fix(data, [axis])
    shift = {a: a if a < axis else a + indexed - 1 for a in tracked if a != axis}
    found.write(node.outputs[0], {shift[a]: tracked[a] for a in shift})
    return True


def _fixed(found: Channels, count: int) -> Numbers:
    numbers = found.new(count)
    found.fixed.append(numbers)
    return numbers


RULES: Rules = {
    ("", "Conv"): _conv,
    ("", "ConvTranspose"): _conv,
    ("", "Gemm"): _gemm,
    ("", "MatMul"): _matmul,
    ("", "LSTM"): _recurrence,
    ("", "GRU"): _recurrence,
    ("", "RNN"): _recurrence,
    ("", "Gather"): _gather,
}
