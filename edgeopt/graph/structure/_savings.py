"""What each change of structure saves by itself, told from the changed graph; nothing is refitted or run.

Sites of one change get into each other's way: a convolution between two groups that are both halved keeps a
quarter of its work, and each alone saves half. So that savings can be added up, those of a change are made
smaller by one factor: then they add up to what it saves with the last option at all of its sites.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping

import onnx_ir as ir

from edgeopt.core.saving import Saving, Savings
from edgeopt.core.space import SearchSpace
from edgeopt.graph import structure
from edgeopt.graph.flops import nbytes, node_flops
from edgeopt.graph.structure._knowledge import Knowledge


def savings(knowledge: Knowledge, space: SearchSpace) -> Savings:
    """Of every option of every structure decision; repeated blocks are looked at once.

    Args:
        space: Of the model that `knowledge` is of.

    Raises:
        CandidateFailed: A calibration sample cannot be computed.
    """
    graph, whole = knowledge.graph, _cost(knowledge.graph)
    pattern = {region.name: region.pattern for region in space.regions}
    alike: dict[object, Mapping[str, Saving]] = {}
    found: dict[str, Mapping[str, Saving]] = {}
    for name in structure.names():
        change, together, sites = structure.change(name), graph, []
        for point in space.points:
            if point.family != "structure" or point.name != name or point.region is None:
                continue
            key = name, pattern[point.region], point.options
            if key not in alike:
                made = {o: change.apply(graph, point.region, o, knowledge) for o in point.options[1:]}
                alike[key] = {option: _less(whole, _cost(one)) for option, one in made.items()}
            found[point.site] = alike[key]
            sites.append((point.site, point.options[-1]))
            together = change.apply(together, point.region, point.options[-1], knowledge)
        factors = _factors(_less(whole, _cost(together)), (found[site][last] for site, last in sites))
        for site, _ in sites:
            found[site] = {option: _times(one, factors) for option, one in found[site].items()}
    return found


def _cost(model: ir.Model) -> Saving:
    flops = moved = 0
    for node in model.graph:
        flops += node_flops(node) or 0
        moved += sum(nbytes(v) or 0 for v in (*node.inputs, *node.outputs) if v is not None)
    constants = model.graph.initializers.values()
    return Saving(flops, moved, sum(v.const_value.nbytes for v in constants if v.const_value is not None))


def _less(before: Saving, after: Saving) -> Saving:
    return Saving(
        before.flops - after.flops,
        before.moved_bytes - after.moved_bytes,
        before.weight_bytes - after.weight_bytes,
    )


def _factors(all_together: Saving, alone: Iterable[Saving]) -> Saving:
    """How many times less the sites save together than one by one: at most 1."""
    parts = list(alone)

    def factor(together: float, added: float) -> float:
        return min(1.0, max(0.0, together / added)) if added > 0 else 1.0

    return Saving(
        factor(all_together.flops, sum(one.flops for one in parts)),
        factor(all_together.moved_bytes, sum(one.moved_bytes for one in parts)),
        factor(all_together.weight_bytes, sum(one.weight_bytes for one in parts)),
    )


def _times(one: Saving, factors: Saving) -> Saving:
    return Saving(
        one.flops * factors.flops,
        one.moved_bytes * factors.moved_bytes,
        one.weight_bytes * factors.weight_bytes,
    )
