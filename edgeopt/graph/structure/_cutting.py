"""What all changes that leave units out have in common: sites, how many stay, which ones, and the cut."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import onnx_ir as ir

from edgeopt.graph.structure import UNCHANGED, Site
from edgeopt.graph.structure._channels import Numbers
from edgeopt.graph.structure._groups import Group, Structure
from edgeopt.graph.structure._importance import kept, order
from edgeopt.graph.structure._knowledge import Knowledge
from edgeopt.graph.structure._weights import Matrix

SHARES = (UNCHANGED, "87.5%", "75%", "62.5%", "50%")

Wanted = Callable[[Structure, Group], bool]
"""Whether a group is cut by a change."""


def step(units: int) -> int:
    """Counts are rounded to multiples of it, which kernels are fast at: vectors hold 4 or 8 numbers."""
    return 8 if units >= 32 else 4 if units >= 8 else 1


def count(option: str, units: int) -> int:
    """How many of some units stay: at least one step, at most all."""
    unit = step(units)
    share = float(option.removesuffix("%")) / 100
    return units if option == UNCHANGED else min(units, max(unit, round(units * share / unit) * unit))


def sites(model: ir.Model, wanted: Wanted, shares: Sequence[str] = SHARES) -> list[Site]:
    """The groups that a change cuts, with the shares that give different counts."""
    structure = Structure(model.graph)
    found: dict[str, Site] = {}
    for group in structure.groups:
        if not wanted(structure, group) or group.region in found:
            continue
        by_count = {count(option, len(group.units)): option for option in reversed(shares)}
        options = tuple(option for option in shares if option in by_count.values())
        options = (
            UNCHANGED,
            *(option for option in options if count(option, len(group.units)) < len(group.units)),
        )
        if len(options) > 1:
            found[group.region] = Site(group.region, options)
    return list(found.values())


def cut(model: ir.Model, region: str, option: str, knowledge: Knowledge, wanted: Wanted) -> ir.Model:
    """A model in which the most important units of the site's group are left."""
    if option == UNCHANGED:
        return model
    changed = model.clone()
    structure = Structure(changed.graph)
    group = _at(structure, region, wanted)
    if group is None:
        return model
    important = knowledge.once(("order", region, len(group.units)), lambda: _order(knowledge, region, wanted))
    if len(important) != len(group.units):
        return model  # another change has cut it already
    structure.keep(group, kept(important, count(option, len(group.units))))
    return changed


def _order(knowledge: Knowledge, region: str, wanted: Wanted) -> Numbers:
    structure = knowledge.once("structure", lambda: _looked_at(knowledge))
    group = _at(structure, region, wanted)
    if group is None:
        raise ValueError(f"the prepared model has no such site: {region}")
    return order(structure, group, knowledge)


def _looked_at(knowledge: Knowledge) -> Structure:
    """The groups of the prepared model, and the moments of all that reads them, in one pass."""
    structure = Structure(knowledge.graph.graph)
    cuts = dict.fromkeys((cut.node, cut.index) for group in structure.groups for cut in group.readers)
    matrices = (Matrix.of(node, index) for node, index in cuts)
    knowledge.prepare([matrix.reads for matrix in matrices if matrix is not None])
    return structure


def _at(structure: Structure, region: str, wanted: Wanted) -> Group | None:
    return next((one for one in structure.groups if one.region == region and wanted(structure, one)), None)
