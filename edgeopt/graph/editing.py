"""What rewrites without a fixed pattern are written with: reading operators of any opset, making new ones."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import onnx_ir

from edgeopt.graph.constants import add_initializer, array_of
from edgeopt.graph.flops import sizes
from edgeopt.graph.matching import Refusal, splice

ELSEWHERE = Refusal("the value in between is read elsewhere too, or is an output of the model")
SHAPE_UNKNOWN = Refusal("a shape is not known")


def before(value: onnx_ir.Value | None, operators: Collection[str]) -> onnx_ir.Node | None:
    """The node of the same graph that computes a value, if it is one of these standard operators."""
    producer = value.producer() if value is not None else None
    if producer is None or producer.domain or producer.op_type not in operators:
        return None
    return producer


def is_shared(value: onnx_ir.Value) -> bool:
    """Whether more than one reader, or the model's caller, sees a value."""
    return value.is_graph_output() or len(value.uses()) > 1


def input_at(node: onnx_ir.Node, index: int) -> onnx_ir.Value | None:
    """An input; None where it is absent."""
    return node.inputs[index] if index < len(node.inputs) else None


def opset_of(node: onnx_ir.Node) -> int:
    """Version of the standard operators that a node's graph is written in."""
    return node.graph.opset_imports.get("", 1) if node.graph is not None else 1


def ints_of(node: onnx_ir.Node, name: str, index: int) -> list[int] | None:
    """Integers that are an attribute in old opsets and a constant input in new ones; None: neither."""
    if (given := node.attributes.get_ints(name, None)) is not None:
        return list(given)
    array = array_of(input_at(node, index))
    return None if array is None else [int(number) for number in array.reshape(-1)]


def breaks_range(value: onnx_ir.Value) -> bool:
    """Whether a Range reads one number with an axis: ONNX forbids it, runtimes see it in constants only."""
    return sizes(value) != () and any(reader.op_type == "Range" for reader, _ in value.uses())


def permutation(node: onnx_ir.Node) -> list[int] | None:
    """Of a Transpose; None where it is the default and the rank is unknown."""
    if (given := node.attributes.get_ints("perm", None)) is not None:
        return list(given)
    shape = node.inputs[0].shape if node.inputs[0] is not None else None
    return None if shape is None else list(reversed(range(len(shape))))


def slice_ranges(node: onnx_ir.Node) -> dict[int, range] | None:
    """Which indices a Slice takes of each axis that it names; None where that is not constant."""
    shape = sizes(node.inputs[0])
    starts, ends = ints_of(node, "starts", 1), ints_of(node, "ends", 2)
    if shape is None or starts is None or ends is None:
        return None
    axes, steps = ints_of(node, "axes", 3), ints_of(node, "steps", 4)
    if (axes is None and input_at(node, 3) is not None) or (steps is None and input_at(node, 4) is not None):
        return None
    named = axes if axes is not None else list(range(len(starts)))
    strides = steps if steps is not None else [1] * len(starts)
    return {
        axis % len(shape): range(*slice(start, end, step).indices(shape[axis % len(shape)]))
        for axis, start, end, step in zip(named, starts, ends, strides, strict=True)
    }


@dataclass(frozen=True, slots=True)
class Piece:
    """A run of indices `[start, stop)` along one axis of a value."""

    source: onnx_ir.Value
    axis: int
    start: int
    stop: int


def piece_of(value: onnx_ir.Value | None) -> Piece | None:
    """The piece that a Slice, a Split or an index with its axis kept takes; None for any other value."""
    producer = value.producer() if value is not None else None
    source = producer.inputs[0] if producer is not None and producer.inputs else None
    if value is None or producer is None or producer.domain or source is None:
        return None
    if producer.op_type == "Slice":
        ranges = slice_ranges(producer)
        whole = sizes(source)
        cut = {a: r for a, r in (ranges or {}).items() if whole is None or r != range(whole[a])}
        if len(cut) != 1 or next(iter(cut.values())).step != 1:
            return None
        ((axis, taken),) = cut.items()
        return Piece(source, axis, taken.start, taken.stop)
    if producer.op_type == "Split":
        return _part_of_split(producer, value)
    if producer.op_type in ("Unsqueeze", "Reshape"):
        return _index_with_its_axis(producer, value)
    return None


def _part_of_split(split: onnx_ir.Node, value: onnx_ir.Value) -> Piece | None:
    source, shapes = split.inputs[0], [sizes(output) for output in split.outputs]
    if source is None or source.shape is None or any(shape is None for shape in shapes):
        return None
    axis = split.attributes.get_int("axis", 0) % len(source.shape)
    ends = np.cumsum([shape[axis] for shape in shapes if shape is not None])
    index = value.index()
    if index is None:
        return None
    return Piece(source, axis, int(ends[index - 1]) if index else 0, int(ends[index]))


def _index_with_its_axis(reshaping: onnx_ir.Node, value: onnx_ir.Value) -> Piece | None:
    gather = before(reshaping.inputs[0], {"Gather"})
    if gather is None or gather.inputs[0] is None:
        return None
    source, index, shape = sizes(gather.inputs[0]), array_of(gather.inputs[1]), sizes(value)
    if source is None or index is None or index.shape != () or shape is None:
        return None
    axis = gather.attributes.get_int("axis", 0) % len(source)
    if shape != (*source[:axis], 1, *source[axis + 1 :]):
        return None
    start = int(index) % source[axis]
    return Piece(gather.inputs[0], axis, start, start + 1)


def made(
    operator: str,
    inputs: Sequence[onnx_ir.Value | None],
    shape: Sequence[int] | None,
    dtype: onnx_ir.DataType | None,
    attributes: Iterable[onnx_ir.Attr] = (),
) -> onnx_ir.Node:
    """A new node of one output, whose shape and type are known to what looks at it next."""
    node = onnx_ir.Node("", operator, inputs, attributes)
    if shape is not None:
        node.outputs[0].shape = onnx_ir.Shape(shape)
    if dtype is not None:
        node.outputs[0].type = onnx_ir.TensorType(dtype)
    return node


def made_reshape(graph: onnx_ir.Graph, x: onnx_ir.Value, shape: Sequence[int], name: str) -> onnx_ir.Node:
    """A Reshape to a fixed shape without zeros."""
    target = add_initializer(graph, f"{name}_shape", np.asarray(shape, np.int64))
    return made("Reshape", [x, target], shape, x.dtype)


def made_transpose(x: onnx_ir.Value, order: Sequence[int]) -> onnx_ir.Node:
    """A Transpose."""
    shape = sizes(x)
    after = None if shape is None else [shape[axis] for axis in order]
    return made("Transpose", [x], after, x.dtype, [onnx_ir.AttrInt64s("perm", list(order))])


def made_slice(
    graph: onnx_ir.Graph, x: onnx_ir.Value, axis: int, start: int, stop: int, name: str
) -> onnx_ir.Node:
    """A Slice `[start, stop)` along one axis, as the graph's opset writes it."""
    return made_slices(graph, x, {axis: range(start, stop)}, name)


def made_slices(
    graph: onnx_ir.Graph, x: onnx_ir.Value, taken: Mapping[int, range], name: str
) -> onnx_ir.Node:
    """A Slice of some axes, as the graph's opset writes it: without steps before opset 10."""
    shape = sizes(x)
    after = None
    if shape is not None:
        after = [len(taken[axis]) if axis in taken else size for axis, size in enumerate(shape)]
    ints = {
        "starts": [each.start for each in taken.values()],
        # What is before the first index is written as far below 0: -1 would be the last one.
        "ends": [each.stop if each.stop >= 0 else np.iinfo(np.int32).min for each in taken.values()],
        "axes": list(taken),
        "steps": [each.step for each in taken.values()],
    }
    if all(step == 1 for step in ints["steps"]):
        del ints["steps"]
    if graph.opset_imports.get("", 1) < 10:
        if "steps" in ints:
            raise ValueError("Slice has no steps before opset 10")
        given = [onnx_ir.AttrInt64s(key, numbers) for key, numbers in ints.items()]
        return made("Slice", [x], after, x.dtype, given)
    bounds = [
        add_initializer(graph, f"{name}_{key}", np.asarray(numbers, np.int64))
        for key, numbers in ints.items()
    ]
    return made("Slice", [x, *bounds], after, x.dtype)


def replace(
    graph: onnx_ir.Graph, node: onnx_ir.Node, new: Sequence[onnx_ir.Node], value: onnx_ir.Value | None = None
) -> Sequence[onnx_ir.Node]:
    """Put new nodes in the place of one; its first output becomes `value`, by default the last new node's.

    What only the replaced node read is removed by the engine.
    """
    old, now = node.outputs[0], value if value is not None else new[-1].outputs[0]
    splice(graph, node, [node], new, [old], [now])
    return list(new)
