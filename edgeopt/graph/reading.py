"""What a node reads, through its subgraphs too."""

from __future__ import annotations

from collections.abc import Iterator

import onnx_ir

WITH_BODY = frozenset({"If", "Loop", "Scan", "SequenceMap"})
"""ONNX's operators that hold graphs; of others' operators, any may."""


def read_by(node: onnx_ir.Node) -> Iterator[onnx_ir.Value]:
    """Every value of the graph that a node reads, those captured by its subgraphs included."""
    yield from (value for value in node.inputs if value is not None)
    for graph in subgraphs(node):
        for inner in graph.all_nodes():
            yield from (v for v in inner.inputs if v is not None and v.graph is node.graph)
        yield from (v for v in graph.outputs if v.graph is node.graph)


def subgraphs(node: onnx_ir.Node) -> Iterator[onnx_ir.Graph]:
    """The graphs that a control-flow node holds, one level deep."""
    for attribute in node.attributes.values():
        if attribute.type == onnx_ir.AttributeType.GRAPH:
            yield attribute.as_graph()
        elif attribute.type == onnx_ir.AttributeType.GRAPHS:
            yield from attribute.as_graphs()


def bodies(graph: onnx_ir.Graph) -> Iterator[onnx_ir.Graph]:
    """All graphs inside a graph, however deep: what `Graph.subgraphs` gives, several times faster."""
    for node in graph:
        if node.domain or node.op_type in WITH_BODY:
            for body in subgraphs(node):
                yield body
                yield from bodies(body)


def has_subgraph(node: onnx_ir.Node) -> bool:
    """Whether a node is control flow: it is kept as it is, and nothing inside it is rewritten."""
    return next(subgraphs(node), None) is not None


def producer_of(value: onnx_ir.Value) -> onnx_ir.Node:
    """The node that computes a value which is known to be computed.

    Raises:
        ValueError: It is an input or a constant.
    """
    node = value.producer()
    if node is None:
        raise ValueError(f"{value.name} is not computed")
    return node
