"""Describes groups of nodes as regions: name, pattern, arithmetic, bytes, neighbours."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Sequence

import numpy as np
import onnx_ir

from edgeopt.core.region import Region
from edgeopt.graph.flops import nbytes, node_flops, sizes
from edgeopt.graph.reading import read_by, subgraphs

_SHAPE_TYPES = (onnx_ir.DataType.INT64, onnx_ir.DataType.INT32)
_LARGEST_SHAPE_VALUE = 16

Group = tuple[onnx_ir.Node, list[onnx_ir.Node]]


def describe(groups: Sequence[Group]) -> tuple[Region, ...]:
    """Make a region of every group.

    Args:
        groups: The node that gives each its name, and all its nodes; in topological order.
    """
    names = _names([anchor for anchor, _ in groups])
    region_of = {node: names[anchor] for anchor, nodes in groups for node in nodes}
    return tuple(_describe(names[anchor], nodes, region_of) for anchor, nodes in groups)


def _names(anchors: Sequence[onnx_ir.Node]) -> dict[onnx_ir.Node, str]:
    """The anchors' names; of the lists that TensorFlow makes of fused nodes (`a;b;c`) the first part."""
    names: dict[onnx_ir.Node, str] = {}
    taken = {str(anchor.name) for anchor in anchors}
    for anchor in anchors:
        base = name = str(anchor.name).partition(";")[0] or str(anchor.name)
        number = 1
        while name in taken and name != anchor.name:
            number += 1
            name = f"{base}_{number}"
        taken.add(name)
        names[anchor] = name
    return names


def _describe(name: str, nodes: list[onnx_ir.Node], region_of: dict[onnx_ir.Node, str]) -> Region:
    inside = set(nodes)
    read = {value: None for node in nodes for value in read_by(node)}  # a set that keeps its order
    inputs = [v for v in read if not v.is_initializer() and v.producer() not in inside]
    outputs = [
        value
        for node in nodes
        for value in node.outputs
        if value.is_graph_output() or any(user not in inside for user, _ in value.uses())
    ]
    producers = [region_of[p] for v in inputs if (p := v.producer()) in region_of and p is not None]
    return Region(
        name=name,
        pattern=_pattern(nodes),
        nodes=tuple(str(node.name) for node in nodes),
        op_types=tuple(node.op_type for node in nodes),
        inputs=tuple(str(value.name) for value in inputs),
        outputs=tuple(str(value.name) for value in outputs),
        predecessors=tuple(dict.fromkeys(producers)),
        flops=sum(node_flops(node) or 0 for node in nodes),
        weight_bytes=_weight_bytes(nodes, read),
        input_bytes=sum(nbytes(value) or 0 for value in inputs),
        output_bytes=sum(nbytes(value) or 0 for value in outputs),
    )


def _weight_bytes(nodes: list[onnx_ir.Node], read: dict[onnx_ir.Value, None]) -> int:
    inner = (v for n in nodes for g in subgraphs(n) for v in _initializers(g))
    return sum(nbytes(value) or 0 for value in (*(v for v in read if v.is_initializer()), *inner))


def _initializers(graph: onnx_ir.Graph) -> Iterator[onnx_ir.Value]:
    yield from graph.initializers.values()
    for inner in graph.subgraphs():
        yield from inner.initializers.values()


def _pattern(nodes: list[onnx_ir.Node]) -> str:
    """Digest of operators, attributes, wiring and shapes; no names and no weights, so repeats share it."""
    position = {node: index for index, node in enumerate(nodes)}
    outside: dict[onnx_ir.Value, int] = {}
    parts: list[object] = []
    for node in nodes:
        attributes = sorted((a.name, _attribute(a)) for a in node.attributes.values())
        inputs = [_source(value, position, outside) for value in node.inputs]
        outputs = [(str(value.dtype), sizes(value)) for value in node.outputs]
        parts.append((node.domain, node.op_type, attributes, inputs, outputs))
    return hashlib.sha256(repr(parts).encode()).hexdigest()[:16]


def _source(
    value: onnx_ir.Value | None, position: dict[onnx_ir.Node, int], outside: dict[onnx_ir.Value, int]
) -> tuple[object, ...]:
    if value is None:
        return ("absent",)
    kind = (str(value.dtype), sizes(value))
    if (producer := value.producer()) is not None and producer in position:
        return ("inside", position[producer], value.index())
    if value.is_initializer() and value.const_value is not None:
        tensor = value.const_value
        if tensor.dtype in _SHAPE_TYPES and tensor.size <= _LARGEST_SHAPE_VALUE:
            return ("constant", *kind, np.asarray(tensor.numpy()).tolist())
        return ("weight", str(tensor.dtype), tuple(tensor.shape))
    return ("outside", outside.setdefault(value, len(outside)), *kind)


def _attribute(attribute: onnx_ir.Attr) -> str:
    if attribute.type == onnx_ir.AttributeType.GRAPH:
        return repr([node.op_type for node in attribute.as_graph().all_nodes()])
    if attribute.type == onnx_ir.AttributeType.TENSOR:
        tensor = attribute.as_tensor()
        return repr((str(tensor.dtype), tuple(tensor.shape)))
    return repr(attribute.value)
