"""Says which region the time of a profile belongs to.

A runtime renames what it fuses: ONNX Runtime reports `conv_token_3`, `conv_nchwc`, `conv/MatMulAddFusion`,
`tensor/duplicated`. It keeps the name of one of the nodes or tensors in the front, so the longest known
name that begins a reported one decides. The builder names the nodes that it makes `region::...`.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

import onnx

from edgeopt.core.region import Region
from edgeopt.graph.precision._edit import MARK

EXPANDED = {"HardSwish": ("HardSigmoid", "Mul")}
"""Operators that ONNX Runtime has no kernel for: it puts these in their place, called by type and number."""

_NAME_CHARACTERS = frozenset("abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789")


def attribute(
    node_ms: Mapping[str, float], artifact: Path, regions: Iterable[Region]
) -> tuple[dict[str, float], float]:
    """Add up a profile by region.

    Args:
        node_ms: Mean time of each executed node in ms, by its name in the runtime.
        artifact: The ONNX file that was profiled (`Builder.build_named`).
        regions: Of the frozen original.

    Returns:
        Time of each region in ms (0 where none was seen), and the time that belongs to none: conversions of
        the layout that the runtime puts between regions, and nodes without a usable name.

    Raises:
        OSError: The file cannot be read.
    """
    found_in = tuple(regions)
    found = {region.name: 0.0 for region in found_in}
    graph = onnx.load(artifact, load_external_data=False).graph
    owners = owners_by_name(graph, found_in)
    owners |= _owners_of_expanded(graph, owners, [name for name in node_ms if owner(name, owners) is None])
    unattributed_ms = 0.0
    for name, ms in node_ms.items():
        region = owner(name, owners)
        if region is None:
            unattributed_ms += ms
        else:
            found[region] += ms
    return found, unattributed_ms


def owners_by_name(graph: onnx.GraphProto, regions: Iterable[Region]) -> dict[str, str]:
    """The region of every node, and of every tensor that a node computes, by name."""
    known = {name: region.name for region in regions for name in region.nodes}
    region_names = set(known.values())
    owners: dict[str, str] = {}
    for node in graph.node:
        made_for = node.name.partition(MARK)[0] if MARK in node.name else None
        region = known.get(node.name) or (made_for if made_for in region_names else None)
        if region is not None:
            owners[node.name] = region
            owners.update({name: region for name in node.output if name})
    return known | owners


def owner(name: str, owners: Mapping[str, str]) -> str | None:
    """The region of a reported node; None if no known name begins its name."""
    for length in range(len(name), 0, -1):
        ends_a_word = length == len(name) or name[length] not in _NAME_CHARACTERS
        if ends_a_word and name[:length] in owners:
            return owners[name[:length]]
    return None


def _owners_of_expanded(
    graph: onnx.GraphProto, owners: Mapping[str, str], unknown: Sequence[str]
) -> dict[str, str]:
    """The owners of what stands for `EXPANDED` operators: the n-th one's parts have the n-th numbers."""
    found: dict[str, str] = {}
    for op_type, parts in EXPANDED.items():
        regions = [
            owners[node.name] for node in graph.node if node.op_type == op_type and node.name in owners
        ]
        for part in parts:
            numbers = sorted(int(m[1]) for name in unknown if (m := re.fullmatch(rf"{part}_(\d+)", name)))
            if len(numbers) == len(regions):
                found |= {f"{part}_{n}": region for n, region in zip(numbers, regions, strict=True)}
    return found
