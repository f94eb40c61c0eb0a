"""Cuts a graph into regions: the units that are decided together.

A region grows around an *anchor*, a node that costs something (convolution, matrix product, recurrence,
embedding, control flow), and takes in the cheap nodes whose inputs all come from it: its normalisation,
bias and activation. Where values of several regions *join* (a residual Add, a Concat), a region without an
anchor begins. Nodes which only prepare one anchor (Pad, DequantizeLinear) and those which only compute
constants and shapes belong to the node that reads them.

A node is put into no region that began before one of its inputs' regions did, so regions never depend on
each other in a circle.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING

import onnx_ir

from edgeopt.core.region import Region
from edgeopt.graph.describe import describe
from edgeopt.graph.reading import read_by

if TYPE_CHECKING:
    from edgeopt.graph.model import Model

REGION_TAG = "edgeopt.region"
"""Key in a node's `metadata_props` that holds the name of its region."""

ANCHORS = frozenset({
    "Conv", "ConvTranspose", "ConvInteger", "QLinearConv", "FusedConv", "DeformConv",
    "Gemm", "MatMul", "MatMulInteger", "QLinearMatMul", "FusedMatMul", "FusedGemm", "QGemm", "Einsum",
    "MatMulNBits", "MatMulIntegerToFloat", "DynamicQuantizeMatMul",
    "LSTM", "GRU", "RNN", "DynamicQuantizeLSTM", "Attention", "MultiHeadAttention", "QAttention",
    "GroupQueryAttention", "DFT", "STFT", "If", "Loop", "Scan", "SequenceMap", "EmbedLayerNormalization",
    "TreeEnsemble", "TreeEnsembleClassifier", "TreeEnsembleRegressor",
})  # fmt: skip
"""Operators that begin a region of their own."""

_PREPARATIONS = frozenset({"Pad", "DequantizeLinear", "DynamicQuantizeLinear"})
"""Operators that belong to the one node which reads them."""

_SHAPE_OPS = frozenset({"Shape", "Size"})


def regions(model: Model) -> tuple[Region, ...]:
    """Cut a frozen model into regions.

    Args:
        model: Of `freeze`, which names all nodes.

    Returns:
        Topologically ordered regions; every node is in exactly one.
    """
    return describe(_Grouping(model.ir.graph).groups())


def tag(model: onnx_ir.Model, found: Iterable[Region]) -> None:
    """Write each node's region into its `metadata_props[REGION_TAG]`, in place."""
    by_node = {name: region.name for region in found for name in region.nodes}
    for node in model.graph:
        if (region := by_node.get(str(node.name))) is not None:
            node.metadata_props[REGION_TAG] = region


def region_of(node: onnx_ir.Node) -> str:
    """The region that `tag` wrote; empty for a node without one."""
    return node.metadata_props.get(REGION_TAG, "")


def is_anchor(node: onnx_ir.Node) -> bool:
    """Whether a node begins a region: a costly operator, or an embedding (Gather of a constant table)."""
    if node.op_type in ANCHORS:
        return True
    if node.op_type != "Gather" or node.inputs[0] is None or node.inputs[0].const_value is None:
        return False
    table = node.inputs[0].const_value
    return table.dtype.is_floating_point() and len(table.shape) > 1


class _Grouping:
    """Assigns nodes to numbered groups; a group depends on lower numbers only."""

    def __init__(self, graph: onnx_ir.Graph) -> None:
        self._graph = graph
        self._group: dict[onnx_ir.Node, int] = {}
        self._began: list[onnx_ir.Node] = []
        self._sources: dict[onnx_ir.Node, frozenset[int]] = {}  # groups behind a node that joins its reader
        self._light: set[onnx_ir.Node] = set()
        self._readers: dict[onnx_ir.Node, list[onnx_ir.Node]] = {}
        for node in graph:
            for value in read_by(node):
                if (producer := value.producer()) is not None:
                    self._readers.setdefault(producer, []).append(node)

    def groups(self) -> list[tuple[onnx_ir.Node, list[onnx_ir.Node]]]:
        """Every group: the node that began it, and all its nodes in the graph's order."""
        for node in self._graph:
            self._assign(node)
        for node in reversed(list(self._sources)):
            self._assign_to_reader(node)
        members: list[list[onnx_ir.Node]] = [[] for _ in self._began]
        for node in self._graph:
            members[self._group[node]].append(node)
        return list(zip(self._began, members, strict=True))

    def _assign(self, node: onnx_ir.Node) -> None:
        sources = self._behind(node)
        if self._is_light(node):
            self._light.add(node)
            self._sources[node] = sources
        elif is_anchor(node):
            self._begin(node)
        elif self._prepares_one(node):
            self._sources[node] = sources
        elif sources and (len(sources) == 1 or not is_anchor(self._began[max(sources)])):
            self._group[node] = max(sources)
        else:
            self._begin(node)

    def _assign_to_reader(self, node: onnx_ir.Node) -> None:
        if readers := self._readers.get(node):
            self._group[node] = min(self._group[reader] for reader in readers)
        elif sources := self._sources[node]:
            self._group[node] = max(sources)
        else:
            self._begin(node)

    def _begin(self, node: onnx_ir.Node) -> None:
        self._group[node] = len(self._began)
        self._began.append(node)

    def _behind(self, node: onnx_ir.Node) -> frozenset[int]:
        """The groups that a node depends on directly, or through nodes without a group so far."""
        if node.op_type in _SHAPE_OPS and node.inputs[0] is not None:
            shape = node.inputs[0].shape
            if shape is not None and shape.is_static():
                return frozenset()
        found: set[int] = set()
        for value in read_by(node):
            producer = value.producer()
            if producer in self._group:
                found.add(self._group[producer])
            elif producer in self._sources:
                found |= self._sources[producer]
        return frozenset(found)

    def _is_light(self, node: onnx_ir.Node) -> bool:
        """Whether a node computes nothing but a constant or a shape, for others to read."""
        if node not in self._readers or any(output.is_graph_output() for output in node.outputs):
            return False
        if node.op_type in _SHAPE_OPS:
            return True
        computed = [value for value in read_by(node) if not value.is_initializer()]
        return all(value.producer() in self._light for value in computed)

    def _prepares_one(self, node: onnx_ir.Node) -> bool:
        if node.op_type not in _PREPARATIONS or any(output.is_graph_output() for output in node.outputs):
            return False
        readers = set(self._readers.get(node, ()))
        return len(readers) == 1 and (node.op_type != "Pad" or is_anchor(next(iter(readers))))
