"""What all precision schemes of one candidate change a graph through."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, TypeVar

import numpy as np
import onnx_ir as ir

from edgeopt.graph.calibration import Ranges
from edgeopt.graph.precision._arithmetic import MOST
from edgeopt.graph.precision._weights import Weights
from edgeopt.graph.regions import REGION_TAG, region_of

if TYPE_CHECKING:
    from edgeopt.graph.precision._rounding import Rounding

LONGEST_NAME = 32
"""Of what a scheme makes, without its region."""

Made = TypeVar("Made")
Attribute = int | float | str | Sequence[int] | Sequence[float] | ir.Attr

CONTRIB = "com.microsoft"
MARK = "::"
"""Separates the region from the rest in the names of nodes that edgeopt makes (see `graph.attribution`)."""


class Edit:
    """One candidate's precision changes of one graph.

    The nodes of the main graph are visited in topological order.

    Attributes:
        graph: Changed in place; its nodes are tagged with their regions.
        ranges: Of the original's tensors; None where nothing was calibrated.
        weights: Shared by all candidates of a model.
        scheme_of: Name of the scheme chosen for a node's region.
        pairs: The int8 activations so far (filled by the static schemes).
        unsigned: Write int8 activations as uint8, 128 higher: the same numbers, for kernels that want it.
        newest_opset: That the board's runtime takes: it tells which contributed operators it has.
        most: The largest integer of an int8 weight that is multiplied by int8 activations.
        rounding: How static schemes round weights; None to the nearest.
        inflow: Names of inputs that int8 nodes of another graph compute (`graph.sensitivity`).
        outflow: Names of outputs that int8 nodes of another graph read.
    """

    def __init__(
        self,
        graph: ir.Graph,
        ranges: Ranges | None,
        weights: Weights,
        scheme_of: Callable[[ir.Node], str],
        *,
        unsigned: bool = False,
        newest_opset: int = 23,
        most: int = MOST,
        rounding: Rounding | None = None,
        inflow: frozenset[str] = frozenset(),
        outflow: frozenset[str] = frozenset(),
    ) -> None:
        from edgeopt.graph.precision._pairs import Pairs

        self.graph = graph
        self.ranges = ranges
        self.weights = weights
        self.scheme_of = scheme_of
        self.unsigned = unsigned
        self.newest_opset = newest_opset
        self.most = most
        self.rounding = rounding
        self.inflow, self.outflow = inflow, outflow
        self.pairs = Pairs(self)
        self._taken = {str(value.name) for value in graph.inputs} | {str(name) for name in graph.initializers}
        for node in graph.all_nodes():
            self._taken.update(str(value.name) for value in node.outputs)
        self._node_names = {str(node.name) for node in graph.all_nodes()}
        self._shared: dict[tuple[ir.Value | None, str], Any] = {}

    def fresh(self, name: str) -> str:
        """`name`, or `name_2`, ... if a value has it already."""
        return _unused(name, self._taken)

    def make(
        self,
        op_type: str,
        inputs: Sequence[ir.Value | None],
        *,
        region: str,
        name: str,
        attributes: Mapping[str, Attribute] | None = None,
        outputs: int = 1,
        domain: str = "",
    ) -> ir.Node:
        """A node of `region`, called `region::name`, that is in no graph yet."""
        name = _short(name)
        label = f"{region}{MARK}{name}"
        node = ir.node(
            op_type,
            inputs,
            attributes=attributes or {},
            domain=domain,
            name=_unused(label, self._node_names),
            outputs=[ir.Value(name=self.fresh(f"{name}_{i}" if i else name)) for i in range(outputs)],
        )
        node.metadata_props[REGION_TAG] = region
        if domain:
            self.graph.opset_imports.setdefault(domain, 1)
        return node

    def before(
        self,
        reader: ir.Node,
        op_type: str,
        inputs: Sequence[ir.Value | None],
        *,
        name: str,
        attributes: Mapping[str, Attribute] | None = None,
    ) -> ir.Value:
        """The output of a new node of `reader`'s region, placed before it."""
        node = self.make(op_type, inputs, region=region_of(reader), name=name, attributes=attributes)
        self.graph.insert_before(reader, node)
        return node.outputs[0]

    def initializer(self, name: str, array: np.ndarray[tuple[int, ...], np.dtype[np.generic]]) -> ir.Value:
        """A new initializer; `array` is shared, not copied."""
        tensor = ir.Tensor(array)
        value = ir.Value(
            name=self.fresh(_short(name)),
            type=ir.TensorType(tensor.dtype),
            shape=ir.Shape(array.shape),
            const_value=tensor,
        )
        self.graph.register_initializer(value)
        return value

    def shared(self, value: ir.Value | None, form: str, make: Callable[[], Made]) -> Made:
        """`make()`, once per `value` (None: the whole graph) and `form`."""
        if (value, form) not in self._shared:
            self._shared[value, form] = make()
        made: Made = self._shared[value, form]
        return made

    def replace(self, node: ir.Node, made: ir.Node, output: ir.Value) -> None:
        """Put `made` where `node` was: its first output takes over the name and the readers of `output`.

        Args:
            node: Removed; all of its outputs but `output` are unused.
            made: In no graph yet.
            output: Computed by `node`, or by what follows it and is removed too.
        """
        self.graph.insert_after(node, made)
        self.take_over(output, made.outputs[0])
        last = output.producer()
        self.graph.remove([node] if last is None or last is node else [last, node], safe=True)

    def is_captured(self, value: ir.Value) -> bool:
        """True if the body of an If, Loop or Scan reads `value`.

        A DequantizeLinear must not compute it then: ONNX Runtime (1.28) ends the process while it optimises
        such a graph.
        """
        return any(user.graph is not self.graph for user, _ in value.uses())

    def take_over(self, old: ir.Value, new: ir.Value, *, but: ir.Node | None = None) -> None:
        """Let every reader of `old` (except node `but`) read `new`, which gets its name, type and shape."""
        for user, index in tuple(old.uses()):
            if user is not but:
                user.replace_input_with(index, new)
        for index, output in enumerate(self.graph.outputs):
            if output is old:
                self.graph.outputs[index] = new
        new.type, new.shape = old.type, old.shape
        name = str(old.name)
        old.name = self.fresh(_short(f"{name}__float"))
        new.name = name


def drop_unused(graph: ir.Graph) -> None:
    """Remove initializers that nobody reads any more."""
    kept = {*graph.inputs, *graph.outputs}
    for name, value in tuple(graph.initializers.items()):
        if not value.uses() and value not in kept:
            del graph.initializers[name]


def _short(name: str) -> str:
    """The end of a name: some exporters' are 200 bytes long, and there are seven of ours for each tensor."""
    return name[-LONGEST_NAME:]


def _unused(name: str, taken: set[str]) -> str:
    chosen, number = name, 1
    while chosen in taken:
        number += 1
        chosen = f"{name}_{number}"
    taken.add(chosen)
    return chosen
