"""Precision schemes: one file each; the stem is the option's name in `precision@REGION`.

A scheme is a module that satisfies `Scheme`. It is asked node by node, in topological order, and works
through one `Edit` that all schemes of a candidate share: so neighbours that chose different schemes agree
on the tensor between them, and a tensor is quantized at most once.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Protocol

from edgeopt.core import plugins

if TYPE_CHECKING:
    import onnx_ir as ir

    from edgeopt.graph.precision._edit import Edit

FAMILY = "precision"
UNCHANGED = "float32"
"""The scheme that leaves a region as it was given: the default."""


class Scheme(Protocol):
    """What the module of a scheme offers.

    `EXAMPLES` are models in `onnx.parser` text; values that are declared but neither computed nor given
    become random weights. `edgeopt.testing.precision` builds each and holds the scheme to its promises.
    """

    STATIC: bool
    """True if activations are quantized with calibrated ranges."""
    LOSSY: bool
    """True if outputs change beyond float32 rounding: searched only with data."""
    WEIGHT_BITS: int
    """Bits in which a weight is stored."""
    MAX_ERROR: float
    """Promised on `EXAMPLES`: largest relative error of an output, ||y - y0|| / ||y0||."""
    EXAMPLES: Sequence[str]

    def applies(self, node: ir.Node) -> bool:
        """True if `apply` changes `node` when all that it needs (ranges, finite weights) is there."""
        ...

    def apply(self, node: ir.Node, edit: Edit) -> bool:
        """Change `node`; False leaves it in float32, untouched.

        Must never leave an invalid graph: everything is checked before the first change.
        """
        ...


def names() -> tuple[str, ...]:
    """All schemes in a fixed order, the unchanged one first."""
    return (UNCHANGED, *(name for name in plugins.names(FAMILY) if name != UNCHANGED))


def scheme(name: str) -> Scheme:
    """One scheme by name.

    Raises:
        ConfigError: No such scheme.
    """
    module: Scheme = plugins.load(FAMILY, name)
    return module
