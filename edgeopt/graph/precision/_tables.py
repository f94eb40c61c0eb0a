"""Embeddings: Gather of rows from a constant float32 table."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import onnx_ir as ir

from edgeopt.graph.precision._arithmetic import Floats
from edgeopt.graph.precision._weights import Weights, constant, operand

LEAST_VALUES = 512
"""Of a table: below, the nodes take more bytes than it saves."""


def is_table(node: ir.Node) -> bool:
    """Gather along the first axis of a constant float32 matrix."""
    if node.domain or node.op_type != "Gather" or len(node.inputs) < 2:
        return False
    table = constant(node.inputs[0])
    return (
        table is not None
        and table.dtype.name == "FLOAT"
        and len(table.shape) == 2
        and table.size >= LEAST_VALUES
        and node.attributes.get_int("axis", 0) in (0, -2)
    )


@dataclass(frozen=True, slots=True)
class Lookup:
    """Rows of a constant table that a Gather picks.

    Attributes:
        stored: The constant, which may be of integers.
        table: (rows, columns), what it stands for.
    """

    stored: ir.Value
    table: Floats
    indices: ir.Value


def lookup(value: ir.Value, weights: Weights) -> Lookup | None:
    """What a value is looked up in: a table of float32, or of integers with one scale; None for others."""
    gather, scale, zero = value.producer(), np.float32(1), np.float32(0)
    if gather is not None and gather.op_type == "DequantizeLinear" and len(gather.inputs) == 3:
        given = [constant(each) for each in gather.inputs[1:]]
        if any(each is None or each.size != 1 for each in given):
            return None
        scale, zero = (np.float32(each.numpy().reshape(())) for each in given if each is not None)
        gather = operand(gather, 0).producer()
    if gather is None or gather.op_type != "Gather" or gather.attributes.get_int("axis", 0) != 0:
        return None
    stored = constant(gather.inputs[0])
    if stored is None or len(stored.shape) != 2:
        return None
    if stored.dtype == ir.DataType.FLOAT and weights.floats(gather.inputs[0]) is None:
        return None
    if stored.dtype not in (ir.DataType.FLOAT, ir.DataType.INT8):
        return None
    table = (stored.numpy().astype(np.float32) - zero) * scale
    return Lookup(operand(gather, 0), table, operand(gather, 1))


def remove_unread(value: ir.Value | None, graph: ir.Graph) -> None:
    """Remove what computed a value that nobody reads any more."""
    while value is not None and not value.uses() and not value.is_graph_output():
        node = value.producer()
        if node is None or node.graph is not graph or len(node.outputs) != 1:
            return
        read = node.inputs[0] if node.inputs else None
        graph.remove(node, safe=True)
        value = read
