"""Looking rows up by indices that may lie beyond the table: zeros there, as one-hot vectors give."""

from __future__ import annotations

import numpy as np
import onnx_ir
from numpy.typing import NDArray

from edgeopt.graph.constants import add_initializer
from edgeopt.graph.editing import made
from edgeopt.graph.flops import sizes

INDICES = {onnx_ir.DataType.INT32: np.int32, onnx_ir.DataType.INT64: np.int64}
"""Types of indices that Gather takes, and numpy's."""
CLIP_OF_INTEGERS = 12
"""The opset from which Clip takes integers."""


def within(
    graph: onnx_ir.Graph, name: str, indices: onnx_ir.Value, table: NDArray[np.generic], first: int
) -> tuple[list[onnx_ir.Node], onnx_ir.Value]:
    """Nodes that move indices into a table with a row of zeros at each end, and that table.

    Args:
        name: What the new constants are called after.
        indices: Of a type in `INDICES`.
        table: (rows, N).
        first: The index of its first row.
    """
    kind, shape = INDICES[indices.dtype or onnx_ir.DataType.INT64], sizes(indices)
    zeros = np.zeros((1, table.shape[1]), table.dtype)
    low, high, shift = (
        add_initializer(graph, f"{name}_{key}", np.asarray(number, kind))
        for key, number in (("lowest", first - 1), ("highest", first + len(table)), ("shift", 1 - first))
    )
    clip = made("Clip", [indices, low, high], shape, indices.dtype)
    add = made("Add", [clip.outputs[0], shift], shape, indices.dtype)
    return [clip, add], add_initializer(graph, f"{name}_table", np.concatenate([zeros, table, zeros]))
