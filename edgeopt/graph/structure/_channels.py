"""Follows channels through a graph: which elements along which axes must be there or go together.

Every element along a followed axis has a number. Layers with weights begin new numbers, operators that only
pass channels on keep them, and where several meet (a residual Add, a gate) their numbers are tied. What a
channel meets in weights, shapes and attributes is noted, so that it can be cut out everywhere at once.

An operator that is not known here ties what it reads to the spot: those channels are never cut. So does
whatever mixes channels without weights of its own (a normalisation or a Softmax over them), a computed value
of unknown make-up, a body of control flow, and an output of the model.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Literal

import numpy as np
import onnx_ir as ir
from numpy.typing import NDArray

from edgeopt.graph.flops import sizes
from edgeopt.graph.reading import read_by

Numbers = NDArray[np.int64]
Role = Literal["writes", "reads", "passes"]


@dataclass(frozen=True, slots=True)
class Cut:
    """Elements along an axis of a constant input that stand for channels.

    Attributes:
        role: The layer `writes` these channels, `reads` them, or has a value for each (`passes`).
    """

    node: ir.Node
    index: int
    axis: int
    numbers: Numbers
    role: Role


@dataclass(frozen=True, slots=True)
class Size:
    """A number in a constant input, or in an attribute, that counts channels.

    Attributes:
        name: Of the attribute; None for input `index`.
        position: In the input or in a list attribute; None for a single number.
        whole: All channels along the axis, of which those in `numbers` are counted; None where they are all.
    """

    node: ir.Node
    numbers: Numbers
    index: int = 0
    name: str | None = None
    position: int | None = None
    whole: Numbers | None = None


@dataclass(slots=True)
class Channels:
    """What was found out about a graph's channels.

    Attributes:
        at: Value -> axis -> numbers of the elements along it.
        ties: Pairs of equally long arrays of numbers that stay or go together.
        fixed: Numbers that must stay.
    """

    at: dict[ir.Value, dict[int, Numbers]] = field(default_factory=dict)
    ties: list[tuple[Numbers, Numbers]] = field(default_factory=list)
    fixed: list[Numbers] = field(default_factory=list)
    cuts: list[Cut] = field(default_factory=list)
    counts: list[Size] = field(default_factory=list)
    total: int = 0

    @classmethod
    def of(cls, graph: ir.Graph, rules: Rules) -> Channels:
        """Follow all channels of a graph whose shapes are known."""
        found = cls()
        for node in graph:
            found._visit(node, rules)
        for value in graph.outputs:
            found.fix(value)
        return found

    def new(self, count: int) -> Numbers:
        """Numbers that nobody has."""
        self.total += count
        return np.arange(self.total - count, self.total)

    def of_value(self, value: ir.Value | None) -> dict[int, Numbers]:
        """The followed axes of a value."""
        return self.at.get(value, {}) if value is not None else {}

    def fix(self, value: ir.Value | None, axes: Iterable[int] | None = None) -> None:
        """The channels of a value along these axes, or all, must stay."""
        wanted = None if axes is None else set(axes)
        self.fixed += [n for axis, n in self.of_value(value).items() if wanted is None or axis in wanted]

    def tie(self, one: Numbers, other: Numbers) -> None:
        """Element i of one stays or goes with element i of the other."""
        if one is not other:
            self.ties.append((one, other))

    def cut(self, node: ir.Node, index: int, axis: int, numbers: Numbers, role: Role) -> None:
        """Note what a constant has for channels."""
        self.cuts.append(Cut(node, index, axis, numbers, role))

    def write(self, value: ir.Value, axes: dict[int, Numbers]) -> None:
        """Follow axes of a value."""
        if axes:
            self.at[value] = axes

    def _visit(self, node: ir.Node, rules: Rules) -> None:
        rule = rules.get((node.domain, node.op_type))
        shapes_known = all(sizes(v) is not None for v in (*node.inputs, *node.outputs) if v is not None)
        if rule is None or not shapes_known or not rule(self, node):
            self._refuse(node)

    def _refuse(self, node: ir.Node) -> None:
        for value in read_by(node):
            self.fix(value)
        for output in node.outputs:
            self.at.pop(output, None)


Rule = Callable[[Channels, ir.Node], bool]
"""Follows channels through one node; False if it cannot: then all that the node reads is fixed."""

Rules = Mapping[tuple[str, str], Rule]
"""By domain and operator."""


def is_constant(value: ir.Value | None) -> bool:
    """Whether a value is a float constant that can be cut."""
    return (
        value is not None
        and value.is_initializer()
        and value.const_value is not None
        and value.const_value.dtype.is_floating_point()
    )


def shape_of(value: ir.Value | None) -> tuple[int, ...]:
    """The shape of a value that is known to have one (`_visit` has looked)."""
    return sizes(value) or ()
