"""Embeddings: Gather of rows from a constant float32 table."""

from __future__ import annotations

from typing import TYPE_CHECKING

from edgeopt.graph.precision._weights import constant

if TYPE_CHECKING:
    import onnx_ir as ir

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
