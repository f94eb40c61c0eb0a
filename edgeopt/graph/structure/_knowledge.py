"""What changes of structure know of a model: the graph that they start from, and its activations."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import TypeVar

import onnx_ir as ir

from edgeopt.core.region import Region
from edgeopt.graph.constants import fold
from edgeopt.graph.model import Model
from edgeopt.graph.moments import Moments, Reads, Statistics
from edgeopt.graph.regions import tag

ORIGIN = "edgeopt.origin"
"""Key in a node's metadata: the name of the node of the prepared graph that it stands for."""

FOLDED_BYTES = 1 << 16
"""Constants that shapes, pads and initial states are computed from are smaller."""

Made = TypeVar("Made")


def prepared(model: Model, found: Iterable[Region]) -> ir.Model:
    """The graph that changes start from: tagged, and what computes only shapes and constants is constant.

    Args:
        model: Frozen; left as it is.
        found: Its regions.
    """
    graph = model.ir.clone()
    tag(graph, found)
    fold(graph, FOLDED_BYTES)
    for node in graph.graph:
        node.metadata_props[ORIGIN] = str(node.name)
    return graph


class Knowledge:
    """The prepared graph and what is known of its activations; what was found out once is kept.

    Args:
        graph: Of `prepared`; not changed.
        statistics: Of the model that it was prepared from.
    """

    def __init__(self, graph: ir.Model, statistics: Statistics) -> None:
        self.graph, self._statistics = graph, statistics
        self._nodes = {str(node.name): node for node in graph.graph}
        self._kept: dict[object, object] = {}

    @property
    def digest(self) -> str:
        """Of the model and the samples."""
        return self._statistics.digest

    def origin(self, node: ir.Node) -> ir.Node | None:
        """The node of the prepared graph that a node of a changed one stands for; None for a new one."""
        return self._nodes.get(node.metadata_props.get(ORIGIN, ""))

    def prepare(self, reads: Iterable[Reads]) -> None:
        """Collect moments in as few passes as possible; what is known already costs nothing."""
        self._statistics.prepare(reads)

    def moments(self, reads: Reads) -> Moments | None:
        """Of what a layer of the prepared graph reads; None if they cannot be told."""
        self._statistics.prepare([reads])
        return self._statistics.moments(reads)

    def once(self, key: object, make: Callable[[], Made]) -> Made:
        """What `make` gives, which is asked only the first time."""
        if key not in self._kept:
            self._kept[key] = make()
        return self._kept[key]  # type: ignore[return-value]
