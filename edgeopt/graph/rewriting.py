"""Applies rewrites to a graph, each where it is enabled."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import TYPE_CHECKING

import onnx_ir

from edgeopt.core.region import Region

if TYPE_CHECKING:
    from edgeopt.graph.model import Model


@dataclass(frozen=True, slots=True)
class Application:
    """One rewrite that was applied once.

    Attributes:
        rewrite: Name of the rewrite.
        region: Where it was applied.
        nodes: Names of the nodes that it replaced or removed.
    """

    rewrite: str
    region: str
    nodes: tuple[str, ...]


def apply(model: onnx_ir.Model, enabled: Callable[[str, str], bool]) -> list[Application]:
    """Apply every rewrite where `enabled(rewrite, region)`, in place, until nothing more applies.

    Args:
        model: A tagged copy (`regions.tag`).
        enabled: Asked with the names of the rewrite and of the region.
    """
    raise NotImplementedError


def applicable(model: Model, found: Iterable[Region]) -> dict[str, dict[str, int]]:
    """How often each rewrite could be applied in each region: rewrite -> region -> count (only counts > 0)."""
    raise NotImplementedError


def is_exact(rewrite: str) -> bool:
    """Whether a rewrite computes the same numbers up to rounding, so that it needs no data to be searched."""
    raise NotImplementedError
