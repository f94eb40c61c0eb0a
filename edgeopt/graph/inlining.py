"""Moves the nodes of a subgraph (a branch, the body of a loop) into the main graph."""

from __future__ import annotations

from collections.abc import Sequence

import onnx_ir

from edgeopt.graph.constants import free_name, lift
from edgeopt.graph.matching import splice
from edgeopt.graph.shapes import infer


def take_out(graph: onnx_ir.Graph, body: onnx_ir.Graph) -> tuple[list[onnx_ir.Node], list[onnx_ir.Value]]:
    """Empty a subgraph: its constants go to `graph`, its nodes and outputs to the caller."""
    nodes, outputs = list(body), list(body.outputs)
    body.outputs.clear()
    for name in list(body.initializers):
        constant = body.initializers.pop(name)
        constant.name = free_name(graph, name)
        graph.register_initializer(constant)
    body.remove(nodes)
    return nodes, outputs


def put_in(
    model: onnx_ir.Model, node: onnx_ir.Node, new: Sequence[onnx_ir.Node], results: Sequence[onnx_ir.Value]
) -> Sequence[onnx_ir.Node]:
    """Replace a control-flow node by nodes that were taken out of its subgraphs.

    Args:
        new: In topological order.
        results: What its outputs become, in their order; any value of the main graph or of `new`.

    Returns:
        The new nodes, without those that were constants.
    """
    nodes, own = list(new), {output for each in new for output in each.outputs}
    given: list[onnx_ir.Value] = []
    for result in results:
        if result in own and result not in given:
            given.append(result)
        else:  # a captured value, a constant, or one result twice: the output needs a name of its own
            identity = onnx_ir.Node("", "Identity", [result])
            nodes.append(identity)
            given.append(identity.outputs[0])
    splice(model.graph, node, [node], nodes, list(node.outputs), given)
    lift(model)
    infer(model, strict=False)
    return [each for each in nodes if each.graph is model.graph]
