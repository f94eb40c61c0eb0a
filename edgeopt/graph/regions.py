"""Cuts a graph into regions: the units that are decided together."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING

import onnx_ir

from edgeopt.core.region import Region

if TYPE_CHECKING:
    from edgeopt.graph.model import Model

REGION_TAG = "edgeopt.region"
"""Key in a node's `metadata_props` that holds the name of its region."""


def regions(model: Model) -> tuple[Region, ...]:
    """Cut a frozen model into regions, in topological order; every node is in exactly one."""
    raise NotImplementedError


def tag(model: onnx_ir.Model, found: Iterable[Region]) -> None:
    """Write each node's region into its `metadata_props[REGION_TAG]`, in place."""
    for region in found:
        for name in region.nodes:
            model.graph.node(name).metadata_props[REGION_TAG] = region.name


def region_of(node: onnx_ir.Node) -> str:
    """The region that `tag` wrote; empty for a node without one."""
    return node.metadata_props.get(REGION_TAG, "")
