"""Operators that pass channels on: pointwise, broadcast, pooled, moved, joined, split and reshaped.

Source: the operators' specifications in ONNX (broadcasting: `docs/Broadcasting.md`).
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import onnx_ir as ir

from edgeopt.graph.editing import input_at, ints_of, opset_of, permutation, slice_ranges
from edgeopt.graph.structure._channels import Channels, Numbers, Rules, Size, is_constant, shape_of


def _same(found: Channels, node: ir.Node) -> bool:
    """Each output element is made of the input element in the same place."""
    found.write(node.outputs[0], dict(found.of_value(node.inputs[0])))
    return True


def _spatial(found: Channels, node: ir.Node) -> bool:
    """Poolings: the batch and channel axes stay, the others are mixed."""
    found.fix(node.inputs[0], range(2, len(shape_of(node.inputs[0]))))
    axes = {axis: n for axis, n in found.of_value(node.inputs[0]).items() if axis < 2}
    found.write(node.outputs[0], axes)
    return not any(output.uses() for output in node.outputs[1:])


def _pad(found: Channels, node: ir.Node) -> bool:
    pads, rank = ints_of(node, "pads", 1), len(shape_of(node.inputs[0]))
    if pads is None or len(pads) != 2 * rank:
        return False
    padded = [axis for axis in range(rank) if pads[axis] or pads[axis + rank]]
    found.fix(node.inputs[0], padded)
    axes = {axis: n for axis, n in found.of_value(node.inputs[0]).items() if axis not in padded}
    found.write(node.outputs[0], axes)
    return True


def _resize(found: Channels, node: ir.Node) -> bool:
    before, after = shape_of(node.inputs[0]), shape_of(node.outputs[0])
    counted = input_at(node, 3)
    if counted is not None and (not counted.is_initializer() or counted.const_value is None):
        return False
    axes = {}
    for axis, numbers in found.of_value(node.inputs[0]).items():
        if before[axis] != after[axis]:
            found.fixed.append(numbers)
            continue
        axes[axis] = numbers
        if counted is not None and len(before) == counted.const_value.size:  # type: ignore[union-attr]
            found.counts.append(Size(node, numbers, index=3, position=axis))
        elif counted is not None:
            found.fixed.append(numbers)
    found.write(node.outputs[0], axes)
    return True


def _elementwise(found: Channels, node: ir.Node) -> bool:
    """Operands are broadcast; those with an element for each channel stay or go with it."""
    rank, written = len(shape_of(node.outputs[0])), shape_of(node.outputs[0])
    axes: dict[int, Numbers] = {}
    for value in node.inputs:
        for axis, numbers in found.of_value(value).items():
            there = axis + rank - len(shape_of(value))
            if len(numbers) > 1 or written[there] == 1:
                if there in axes:
                    found.tie(axes[there], numbers)
                axes.setdefault(there, numbers)
            else:
                found.fixed.append(numbers)
    for index, value in enumerate(node.inputs):
        shape, tracked = shape_of(value), found.of_value(value)
        for there, numbers in axes.items():
            axis = there - rank + len(shape)
            if value is None or axis < 0 or axis in tracked or shape[axis] == 1:
                continue
            if is_constant(value):
                found.cut(node, index, axis, numbers, "passes")
            else:
                found.fixed.append(numbers)
    found.write(node.outputs[0], axes)
    return True


def _normalise(found: Channels, node: ir.Node) -> bool:
    """BatchNormalization: four constants per channel, and axis 1 of any value."""
    if any(output.uses() for output in node.outputs[1:]):
        return False
    axes = dict(found.of_value(node.inputs[0]))
    if 1 in axes:
        constants = range(1, len(node.inputs))
        if not all(is_constant(node.inputs[index]) for index in constants):
            return False
        for index in constants:
            found.cut(node, index, 0, axes[1], "passes")
    found.write(node.outputs[0], axes)
    return True


def _reduce(found: Channels, node: ir.Node) -> bool:
    rank = len(shape_of(node.inputs[0]))
    axes = ints_of(node, "axes", 1)
    if axes is None:
        return False
    reduced = {axis % rank for axis in axes}
    found.fix(node.inputs[0], reduced)
    kept = [axis for axis in range(rank) if axis not in reduced]
    keeps = node.attributes.get_int("keepdims", 1)
    place = {axis: axis if keeps else kept.index(axis) for axis in kept}
    tracked = found.of_value(node.inputs[0])
    found.write(node.outputs[0], {place[axis]: n for axis, n in tracked.items() if axis in place})
    return True


def _softmax(found: Channels, node: ir.Node) -> bool:
    rank = len(shape_of(node.inputs[0]))
    opset = opset_of(node)
    axis = (node.attributes.get_int("axis", -1 if opset >= 13 else 1) or 0) % rank
    mixed = [axis] if opset >= 13 else list(range(axis, rank))
    found.fix(node.inputs[0], mixed)
    tracked = found.of_value(node.inputs[0])
    found.write(node.outputs[0], {a: n for a, n in tracked.items() if a not in mixed})
    return True


def _transpose(found: Channels, node: ir.Node) -> bool:
    order = permutation(node)
    if order is None:
        return False
    tracked = found.of_value(node.inputs[0])
    found.write(node.outputs[0], {order.index(axis): numbers for axis, numbers in tracked.items()})
    return True


def _concat(found: Channels, node: ir.Node) -> bool:
    rank = len(shape_of(node.outputs[0]))
    axis = (node.attributes.get_int("axis", 0) or 0) % rank
    axes: dict[int, Numbers] = {}
    tracked = [found.of_value(value) for value in node.inputs]
    if any(axis in one for one in tracked):
        parts = []
        for index, (value, one) in enumerate(zip(node.inputs, tracked, strict=True)):
            numbers = one.get(axis)
            if numbers is None:
                numbers = found.new(shape_of(value)[axis])
                if is_constant(value):
                    found.cut(node, index, axis, numbers, "passes")
                else:
                    found.fixed.append(numbers)
            parts.append(numbers)
        axes[axis] = np.concatenate(parts)
    for other in {a for one in tracked for a in one} - {axis}:
        arrays = [one.get(other) for one in tracked]
        known = [array for array in arrays if array is not None]
        for array in known[1:]:
            found.tie(known[0], array)
        if len(known) < len(arrays):
            found.fixed.append(known[0])
        axes[other] = known[0]
    found.write(node.outputs[0], axes)
    return True


def _split(found: Channels, node: ir.Node) -> bool:
    rank = len(shape_of(node.inputs[0]))
    axis = (node.attributes.get_int("axis", 0) or 0) % rank
    tracked, start = found.of_value(node.inputs[0]), 0
    given = ints_of(node, "split", 1)
    if axis in tracked and given is None:
        return False
    for position, output in enumerate(node.outputs):
        size = shape_of(output)[axis]
        axes = dict(tracked)
        if axis in axes:
            axes[axis] = axes[axis][start : start + size]
            name = "split" if "split" in node.attributes else None
            found.counts.append(Size(node, axes[axis], index=1, name=name, position=position))
        start += size
        found.write(output, axes)
    return True


def _slice(found: Channels, node: ir.Node) -> bool:
    """Along a followed axis only pieces without steps, whose ends move with what is cut."""
    ranges, tracked = slice_ranges(node), found.of_value(node.inputs[0])
    if ranges is None:
        return False
    axes = dict(tracked)
    named = ints_of(node, "axes", 3) or list(range(len(ranges)))
    rank = len(shape_of(node.inputs[0]))
    for position, axis in enumerate(number % rank for number in named):
        if axis not in tracked:
            continue
        taken = ranges[axis]
        if taken.step != 1:
            return False
        numbers = tracked[axis]
        axes[axis] = numbers[taken.start : taken.stop]
        for index, name, end in ((1, "starts", taken.start), (2, "ends", taken.stop)):
            attribute = name if name in node.attributes else None
            found.counts.append(Size(node, numbers[:end], index, attribute, position, whole=numbers))
    found.write(node.outputs[0], axes)
    return True


def _reshape(found: Channels, node: ir.Node) -> bool:
    """Flatten, Reshape, Squeeze, Unsqueeze: an axis is kept, merged with others, or split in two.

    Where it is split, all that share the first of the two new axes (a head) stay or go together.
    """
    before, after = shape_of(node.inputs[0]), shape_of(node.outputs[0])
    tracked = found.of_value(node.inputs[0])
    target = input_at(node, 1) if node.op_type == "Reshape" else None
    literal = None
    if target is not None:
        literal = ints_of(node, "shape", 1)
        if literal is None or (tracked and len(literal) != len(after)):
            return False
    axes: dict[int, Numbers] = {}
    for sources, places in _segments(before, after):
        followed = [axis for axis in sources if axis in tracked]
        if not followed:
            continue
        wide = [place for place in places if after[place] != 1]
        if len(followed) > 1 or len(wide) > 2 or not places:
            found.fixed += [tracked[axis] for axis in followed]
            continue
        numbers, axis = tracked[followed[0]], followed[0]
        shape = [before[source] for source in sources]
        merged = np.broadcast_to(
            numbers.reshape([-1 if source == axis else 1 for source in sources]), shape
        ).reshape(-1)
        place = wide[0] if wide else places[0]
        if len(wide) == 2:
            if len([source for source in sources if before[source] != 1]) > 1:
                found.fixed.append(numbers)
                continue
            heads = merged.reshape(after[wide[0]], after[wide[1]])
            found.ties.append((np.repeat(heads[:, 0], heads.shape[1]), heads.reshape(-1)))
            merged = heads[:, 0]
        axes[place] = merged
        if literal is not None and literal[place] > 0:
            found.counts.append(Size(node, merged, index=1, position=place))
    found.write(node.outputs[0], axes)
    return True


def _segments(before: Sequence[int], after: Sequence[int]) -> list[tuple[list[int], list[int]]]:
    """Runs of axes, as short as can be, that hold the same elements before and after a Reshape."""
    runs: list[tuple[list[int], list[int]]] = []
    i, j = 0, 0
    while i < len(before) or j < len(after):
        sources: list[int] = []
        places: list[int] = []
        read, written = 1, 1
        while True:
            if i < len(before) and (read <= written or j >= len(after)) and (not sources or read != written):
                sources.append(i)
                read *= before[i]
                i += 1
            elif j < len(after) and (not places or read != written):
                places.append(j)
                written *= after[j]
                j += 1
            if read == written and (sources or i >= len(before)) and (places or j >= len(after)):
                break
            if i >= len(before) and j >= len(after):
                break
        runs.append((sources, places))
    return runs


UNARY = (
    "Relu", "Sigmoid", "Tanh", "Clip", "HardSigmoid", "HardSwish", "LeakyRelu", "Elu", "Selu", "Celu", "Gelu",
    "Mish", "Softplus", "Softsign", "ThresholdedRelu", "Erf", "Sqrt", "Exp", "Log", "Abs", "Neg",
    "Reciprocal", "Identity", "Dropout", "Cast", "Floor", "Ceil", "Round", "Sign", "Sin", "Cos", "Not",
)  # fmt: skip
BINARY = (
    "Add",
    "Sub",
    "Mul",
    "Div",
    "Pow",
    "Min",
    "Max",
    "PRelu",
    "Sum",
    "Mean",
    "Where",
    "Greater",
    "Less",
)
_POOLS = ("MaxPool", "AveragePool", "LpPool", "GlobalAveragePool", "GlobalMaxPool", "GlobalLpPool")
_REDUCTIONS = ("ReduceMean", "ReduceSum", "ReduceMax", "ReduceMin", "ReduceL2", "ReduceProd")
_SHAPES = ("Reshape", "Flatten", "Squeeze", "Unsqueeze")

RULES: Rules = {
    **{("", name): _same for name in UNARY},
    **{("com.microsoft", name): _same for name in ("Gelu", "QuickGelu")},
    **{("", name): _elementwise for name in BINARY},
    **{("", name): _spatial for name in _POOLS},
    **{("", name): _reduce for name in _REDUCTIONS},
    **{("", name): _reshape for name in _SHAPES},
    ("", "BatchNormalization"): _normalise,
    ("", "Pad"): _pad,
    ("", "Resize"): _resize,
    ("", "Softmax"): _softmax,
    ("", "LogSoftmax"): _softmax,
    ("", "Transpose"): _transpose,
    ("", "Concat"): _concat,
    ("", "Split"): _split,
    ("", "Slice"): _slice,
}
