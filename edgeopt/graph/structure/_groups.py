"""Groups of channels that can be cut: which stay or go together, and where.

A *unit* is the least that can be cut: a channel with all that is tied to it. A *group* is all units that are
found in the same layers; any of them can go, in any number, without the others.
"""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass

import numpy as np
import onnx_ir as ir
from numpy.typing import NDArray
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components

from edgeopt.graph.constants import add_initializer, constant_of
from edgeopt.graph.regions import region_of
from edgeopt.graph.structure import _layers, _passing
from edgeopt.graph.structure._channels import Channels, Cut, Numbers, Size

ROWS = "edgeopt.rows"
"""Key in the metadata of a layer that was cut: which rows of the original's weights it still has."""

LEAST_UNITS = 2


@dataclass(frozen=True, slots=True)
class Group:
    """Units that are found in the same layers.

    Attributes:
        units: Numbers of its units (`Structure.unit`), in the order of the first layer's channels.
        cuts: Where they are.
    """

    units: Numbers
    cuts: tuple[Cut, ...]

    @property
    def writers(self) -> tuple[ir.Node, ...]:
        """The layers that compute its channels, in topological order."""
        return tuple(dict.fromkeys(cut.node for cut in self.cuts if cut.role == "writes"))

    @property
    def readers(self) -> tuple[Cut, ...]:
        """Where layers read its channels."""
        return tuple(cut for cut in self.cuts if cut.role == "reads")

    @property
    def region(self) -> str:
        """That of its first layer."""
        return region_of(self.writers[0])


class Structure:
    """The channels of a graph, and the groups that can be cut.

    Attributes:
        groups: In topological order of their first layers.
        unit: Number of the unit that each channel belongs to.
    """

    def __init__(self, graph: ir.Graph) -> None:
        self._graph = graph
        self._channels = Channels.of(graph, {**_passing.RULES, **_layers.RULES})
        self.unit = _units(self._channels)
        self.groups = self._grouped()

    def is_bundled(self, group: Group) -> bool:
        """Whether a unit is several channels of the layer that writes it: a head."""
        cut = next(cut for cut in group.cuts if cut.role == "writes")
        return int(np.isin(self.unit[cut.numbers], group.units).sum()) > len(group.units)

    def keep(self, group: Group, kept: Numbers) -> None:
        """Cut all but some units of a group out of the graph, in place.

        Args:
            kept: Positions in `group.units`.
        """
        stays = np.ones(self.unit.max(initial=0) + 1, bool)
        stays[group.units] = False
        stays[group.units[kept]] = True
        for cut in group.cuts:
            _shorten(self._graph, cut, stays[self.unit[cut.numbers]])
        for count in self._channels.counts:
            whole = count.numbers if count.whole is None else count.whole
            if not stays[self.unit[whole]].all():
                _recount(self._graph, count, int(stays[self.unit[count.numbers]].sum()))
        for value, axes in self._channels.at.items():
            left = {axis: int(stays[self.unit[numbers]].sum()) for axis, numbers in axes.items()}
            if value.shape is not None and any(value.shape[axis] != size for axis, size in left.items()):
                value.shape = ir.Shape([left.get(axis, size) for axis, size in enumerate(value.shape)])

    def _grouped(self) -> tuple[Group, ...]:
        fixed = np.zeros(self.unit.max(initial=0) + 1, bool)
        for numbers in self._channels.fixed:
            fixed[self.unit[numbers]] = True
        seen: dict[int, list[int]] = defaultdict(list)
        for index, cut in enumerate(self._channels.cuts):
            for unit in dict.fromkeys(self.unit[cut.numbers].tolist()):
                if not fixed[unit]:
                    seen[unit].append(index)
        alike: dict[tuple[int, ...], list[int]] = defaultdict(list)
        for unit, cuts in seen.items():
            alike[tuple(cuts)].append(unit)
        groups = []
        for indices, units in alike.items():
            group = Group(np.asarray(units), tuple(self._channels.cuts[index] for index in indices))
            if len(units) >= LEAST_UNITS and group.writers and group.readers:
                groups.append(group)
        place = {node: index for index, node in enumerate(self._graph)}
        return tuple(sorted(groups, key=lambda group: place[group.writers[0]]))


def rows_of(node: ir.Node) -> Numbers | None:
    """Which rows of the original's weights a layer still has; None for all."""
    text = node.metadata_props.get(ROWS)
    return None if text is None else np.asarray([int(number) for number in text.split(",")])


def _units(channels: Channels) -> Numbers:
    if not channels.ties:
        return np.arange(channels.total)
    first, second = (np.concatenate(side) for side in zip(*channels.ties, strict=True))
    shape = (channels.total, channels.total)
    tied = coo_array((np.ones(len(first), bool), (first, second)), shape=shape)
    labels: Numbers = connected_components(tied, directed=False)[1].astype(np.int64)
    return labels


def _shorten(graph: ir.Graph, cut: Cut, stays: NDArray[np.bool_]) -> None:
    value = cut.node.inputs[cut.index]
    kept = np.compress(stays, constant_of(value), axis=cut.axis)
    replace_constant(graph, cut.node, cut.index, kept)
    if cut.role == "writes" or (cut.role == "passes" and cut.node.op_type == "Conv" and cut.index == 1):
        before = rows_of(cut.node)
        rows = np.arange(len(stays)) if before is None else before
        cut.node.metadata_props[ROWS] = ",".join(str(row) for row in rows[stays])


def _recount(graph: ir.Graph, count: Size, number: int) -> None:
    node = count.node
    if count.name is not None and count.position is None:
        node.attributes[count.name] = ir.AttrInt64(count.name, number)
    elif count.name is not None:
        numbers = list(node.attributes.get_ints(count.name, ()))
        numbers[count.position or 0] = number
        node.attributes[count.name] = ir.AttrInt64s(count.name, numbers)
    else:
        array = constant_of(node.inputs[count.index]).copy()
        array.reshape(-1)[count.position or 0] = number
        replace_constant(graph, node, count.index, array)


def replace_constant(graph: ir.Graph, node: ir.Node, index: int, array: NDArray[np.generic]) -> None:
    """Give a node a constant of its own: others may read the one that it had."""
    old = node.inputs[index]
    if old is None:
        raise ValueError(f"{node.name} has no input {index}")
    name = str(old.name)
    if not old.is_graph_output() and len(old.uses()) == 1:
        node.replace_input_with(index, None)
        graph.initializers.pop(name)
        old.name = None
    node.replace_input_with(index, add_initializer(graph, name, np.ascontiguousarray(array)))
