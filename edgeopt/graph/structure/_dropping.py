"""Leaves a node out of a graph, with all that only it needed."""

from __future__ import annotations

import onnx_ir as ir


def bypass(graph: ir.Graph, node: ir.Node, kept: ir.Value) -> None:
    """Let readers of a node's first output read `kept` instead, and remove what nothing reads any more.

    Args:
        graph: Changed in place.
        node: Its first output is no output of the model.
        kept: Of the same shape and type; computed before `node`.
    """
    node.outputs[0].replace_all_uses_with(kept)
    remove_dead(graph)


def remove_dead(graph: ir.Graph) -> None:
    """Remove nodes and constants that nothing reads, in place."""
    for node in reversed(list(graph)):
        if not any(output.uses() or output.is_graph_output() for output in node.outputs):
            graph.remove(node, safe=True)
    for name, value in list(graph.initializers.items()):
        if not value.uses() and not value.is_graph_output():
            graph.initializers.pop(name)
