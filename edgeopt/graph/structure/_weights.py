"""The matrix of a layer, whatever operator holds it: rows are what it writes, columns what it reads."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import onnx_ir as ir
from numpy.typing import NDArray

from edgeopt.graph.constants import constant_of
from edgeopt.graph.convolution import Geometry
from edgeopt.graph.flops import sizes
from edgeopt.graph.moments import Reads
from edgeopt.graph.structure._channels import is_constant
from edgeopt.graph.structure._groups import replace_constant
from edgeopt.graph.structure._layers import GATES

Doubles = NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class Matrix:
    """A constant weight as a matrix, (g, m, n): g groups of m rows, each of n columns.

    The columns are in the order of `moments.Moments`: channel by channel, its taps one after the other.

    Attributes:
        node: The layer.
        index: Which of its inputs the weight is.
        reads: What the columns are multiplied by.
        taps: Columns that belong to one channel.
    """

    node: ir.Node
    index: int
    reads: Reads
    taps: int

    @classmethod
    def of(cls, node: ir.Node, index: int) -> Matrix | None:
        """The matrix in an input of a node; None where that is no constant matrix, or of unknown geometry."""
        if node.domain or not is_constant(node.inputs[index]):
            return None
        shape = sizes(node.inputs[index]) or ()
        name = str(node.inputs[0].name) if node.inputs[0] is not None else ""
        if node.op_type == "Conv" and index == 1:
            geometry = Geometry.of(node)
            return None if geometry is None else cls(node, 1, Reads(name, geometry), int(np.prod(shape[2:])))
        if node.op_type == "MatMul" and index == 1 and len(shape) == 2:
            return cls(node, 1, Reads(name, None), 1)
        plain = all(node.attributes.get_float(name, 1.0) == 1.0 for name in ("alpha", "beta"))
        if node.op_type == "Gemm" and index == 1 and plain and not node.attributes.get_int("transA", 0):
            return cls(node, 1, Reads(name, None), 1)
        if node.op_type in GATES and index in (1, 2) and shape[0] == 1:
            states = name if index == 1 else str(node.outputs[0].name or "")
            return cls(node, index, Reads(states, None), 1) if states else None
        return None

    @property
    def values(self) -> Doubles:
        """(g, m, n)."""
        array = constant_of(self.node.inputs[self.index]).astype(np.float64)
        if self.node.op_type == "Conv":
            group = self.node.attributes.get_int("group", 1) or 1
            return array.reshape(group, array.shape[0] // group, -1)
        if self.node.op_type == "MatMul" or (self.node.op_type == "Gemm" and not self._turned):
            return array.T[None]
        return array.reshape(1, *array.shape[-2:])

    def store(self, graph: ir.Graph, values: Doubles) -> None:
        """Put other values, (g, m, n), in the place of the weight's."""
        old = constant_of(self.node.inputs[self.index])
        if self.node.op_type == "MatMul" or (self.node.op_type == "Gemm" and not self._turned):
            values = values[0].T
        array = np.ascontiguousarray(values.reshape(old.shape).astype(old.dtype))
        replace_constant(graph, self.node, self.index, array)

    @property
    def _turned(self) -> bool:
        return bool(self.node.attributes.get_int("transB", 0))


def matrices(node: ir.Node) -> list[Matrix]:
    """All matrices of a layer."""
    indices = (1, 2) if node.op_type in GATES else (1,)
    if node.op_type not in ("Conv", "MatMul", "Gemm", *GATES):
        return []
    return [found for index in indices if (found := Matrix.of(node, index)) is not None]
