"""What a graph knows of its inputs beside their types, and how rewrites change them.

A note in the `meta` of an input (it is not written into files) says which bytes its values are made of. A
rewrite of `--allow-interface` changes the input in place and notes that; `record` writes the changes into the
model's own metadata, so that a file tells by itself how it is fed.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace

import onnx
import onnx_ir
from google.protobuf.message import DecodeError  # type: ignore[import-untyped]

from edgeopt.core.interface import InputChange, Interface, Levels, from_json, to_json
from edgeopt.core.tensor import TensorSpec
from edgeopt.graph.constants import free_name

METADATA = "edgeopt.interface"
"""Key of a model's metadata: the changes of its inputs, as JSON."""

_LEVELS, _CHANGE = "edgeopt.levels", "edgeopt.change"
UNKNOWN = "nothing says that its values are bytes: images and uint8 arrays are"


def annotate(model: onnx_ir.Model, levels: Mapping[str, Levels | str]) -> None:
    """Note of inputs, by name, which bytes their values are made of, or why they are not made of bytes."""
    for value in model.graph.inputs:
        if (known := levels.get(str(value.name))) is not None:
            value.meta[_LEVELS] = known


def levels_of(value: onnx_ir.Value) -> Levels | str:
    """Which bytes an input's values are made of; or why that cannot be."""
    known = value.meta.get(_LEVELS)
    return known if isinstance(known, Levels | str) else UNKNOWN


def change_of(value: onnx_ir.Value) -> InputChange | None:
    """How an input was changed already."""
    change = value.meta.get(_CHANGE)
    return change if isinstance(change, InputChange) else None


def change(
    value: onnx_ir.Value, name: str, *, levels: Levels | None = None, order: Sequence[int] | None = None
) -> None:
    """Change an input in place: to bytes, or to another order of axes; its readers are the caller's business.

    Args:
        name: What allows it (`uint8-input`).
        levels: Of the bytes, along the original's axes.
        order: Of the new axes: the original's has not been changed before.
    """
    known = change_of(value) or InputChange(_spec(value), _spec(value), ())
    if levels is not None:
        value.type = onnx_ir.TensorType(onnx_ir.DataType.UINT8)
        known = replace(known, levels=levels)
    if order is not None and value.shape is not None:
        value.shape = onnx_ir.Shape([value.shape[axis] for axis in order])
        known = replace(known, order=tuple(order))
    value.meta[_CHANGE] = replace(known, after=_spec(value), allowed_by=(*known.allowed_by, name))


def record(model: onnx_ir.Model) -> None:
    """Write the changes of a graph's inputs into the model's metadata."""
    changes = [found for value in model.graph.inputs if (found := change_of(value)) is not None]
    if changes:
        model.metadata_props[METADATA] = json.dumps(to_json(tuple(changes)), sort_keys=True)


def interface_of(metadata: Mapping[str, str]) -> Interface:
    """How the inputs of a model with this metadata differ from those of what it was made from.

    Text of somebody else's under the same key is passed over.
    """
    try:
        return from_json(json.loads(metadata.get(METADATA, "[]")))
    except (ValueError, KeyError, TypeError):
        return ()


def interface_in(content: bytes) -> Interface:
    """The same, of a file's content."""
    proto = onnx.ModelProto()
    try:
        proto.ParseFromString(content)
    except DecodeError:
        return ()
    return interface_of({entry.key: entry.value for entry in proto.metadata_props})


def originals(inputs: Iterable[TensorSpec], interface: Interface) -> tuple[TensorSpec, ...]:
    """The inputs that a model's original has, in whose terms data and feeds speak."""
    before = {each.name: each.before for each in interface}
    return tuple(before.get(spec.name, spec) for spec in inputs)


def put_first(graph: onnx_ir.Graph, nodes: Sequence[onnx_ir.Node], after: onnx_ir.Node | None) -> None:
    """Name new nodes and their results, and insert them behind `after`, or before all others."""
    taken = {str(node.name) for node in graph}
    for node in nodes:
        source = node.inputs[0]
        base = name = f"{source.name if source is not None else 'input'}_{node.op_type}"
        number = 1
        while name in taken:
            number += 1
            name = f"{base}_{number}"
        taken.add(name)
        node.name = name
        node.outputs[0].name = free_name(graph, name)
        if after is None:
            graph.insert_before(graph[0], [node])
        else:
            graph.insert_after(after, [node])
        after = node


def _spec(value: onnx_ir.Value) -> TensorSpec:
    shape = tuple(size if isinstance(size, int) else None for size in value.shape or ())
    dtype = value.dtype.numpy().name if value.dtype is not None else "float32"
    return TensorSpec(str(value.name), dtype, shape)
