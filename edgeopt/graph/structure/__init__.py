"""Changes of a model's structure: one file each; the stem is what is decided in `structure:NAME@REGION`.

A change makes the model smaller: fewer channels, heads or hidden units, two thin layers in place of one, a
block less, a smaller picture, cheaper functions. It is judged by data alone, so it is offered only where
there is some. What it costs in accuracy is partly won back at once: `_recovery` refits the layers that read
something else than before.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol, cast

from edgeopt.core import plugins

if TYPE_CHECKING:
    import onnx_ir as ir

    from edgeopt.graph.structure._knowledge import Knowledge

FAMILY = "structure"
UNCHANGED = "100%"
"""The option that leaves a site as it was given: the default everywhere."""


@dataclass(frozen=True, slots=True)
class Site:
    """A place where a change can be made.

    Attributes:
        region: Whose decision it is; one site of a change in each region at most.
        options: `UNCHANGED` first, then from costly to cheap, of which each has fewer operations.
    """

    region: str
    options: tuple[str, ...]


class Change(Protocol):
    """What the module of a structure change offers.

    `EXAMPLES` are models in `onnx.parser` text; values that are declared but neither computed nor given
    become random weights. `edgeopt.testing.structure` holds the change to its promises on each.
    """

    __doc__: str | None
    ORDER: int
    """Changes are made in this order: those that others rely on first."""
    EXAMPLES: Sequence[str]

    def sites(self, model: ir.Model) -> Sequence[Site]:
        """Where the change can be made, in topological order.

        Args:
            model: Of `_knowledge.prepared`.
        """
        ...

    def apply(self, model: ir.Model, region: str, option: str, knowledge: Knowledge) -> ir.Model:
        """The changed model; `model` is left as it is, and is returned where nothing is to be done.

        Other changes may have been made before: a site that is not there any more is passed over.

        Args:
            model: Of `_knowledge.prepared`, or what another change returned.
            region: Of one of the sites of the prepared model.
            option: One of its options.
            knowledge: Of the prepared model and of its activations on calibration data.
        """
        ...


def names() -> tuple[str, ...]:
    """All changes, in the order in which they are made."""
    return tuple(sorted(plugins.names(FAMILY), key=lambda name: (change(name).ORDER, name)))


def change(name: str) -> Change:
    """One change by name.

    Raises:
        ConfigError: No such change.
    """
    return cast(Change, plugins.load(FAMILY, name))
