"""Depth: without a residual block.

Before: x -> block -> Add(x, block(x)) -> ...
After:  x -> ...
Does not apply when: the sum is an output of the model, has another shape than x, or the block does not depend
on x.
Source: Huang et al. 2016 (arXiv:1603.09382); Veit, Wilber & Belongie 2016 (arXiv:1605.06431): residual
networks keep most of their accuracy without one of their blocks.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import onnx_ir as ir

from edgeopt.graph.flops import node_flops, sizes
from edgeopt.graph.reading import read_by
from edgeopt.graph.regions import region_of
from edgeopt.graph.structure import UNCHANGED, Site
from edgeopt.graph.structure._dropping import bypass
from edgeopt.graph.structure._knowledge import Knowledge

ORDER = 10

OPTIONS = (UNCHANGED, "0%")

EXAMPLES = (
    """<ir_version: 8, opset_import: ["": 13]>
blocks (float[1, 8, 6, 6] x) => (float[1, 8, 6, 6] y)
<float[16, 8, 1, 1] w1, float[16] b1, float[16, 1, 3, 3] w2, float[8, 16, 1, 1] w3, float[8, 8, 3, 3] w4> {
    c1 = Conv(x, w1, b1)
    r1 = Relu(c1)
    c2 = Conv <pads = [1, 1, 1, 1], group = 16> (r1, w2)
    r2 = Relu(c2)
    c3 = Conv(r2, w3)
    a = Add(c3, x)
    y = Conv <pads = [1, 1, 1, 1]> (a, w4)
}""",
)


def sites(model: ir.Model) -> Sequence[Site]:
    """See `Change`."""
    regions = dict.fromkeys(region_of(node) for node, _ in _blocks(model))
    return [Site(region, OPTIONS) for region in regions]


def apply(model: ir.Model, region: str, option: str, knowledge: Knowledge) -> ir.Model:  # noqa: ARG001
    """See `Change`."""
    if option == UNCHANGED:
        return model
    changed = model.clone()
    found = next(((node, skip) for node, skip in _blocks(changed) if region_of(node) == region), None)
    if found is None:
        return model
    bypass(changed.graph, *found)
    return changed


def _blocks(model: ir.Model) -> Iterator[tuple[ir.Node, ir.Value]]:
    """Each sum of a value and a block that begins with it, and that value."""
    before: dict[ir.Value, frozenset[ir.Value]] = {}
    for node in model.graph:
        read = [value for value in read_by(node) if not value.is_initializer()]
        behind = frozenset(read).union(*(before.get(value, frozenset()) for value in read))
        before |= dict.fromkeys(node.outputs, behind)
        if node.op_type != "Add" or node.domain or node.outputs[0].is_graph_output():
            continue
        for skip, block in (tuple(node.inputs), tuple(reversed(node.inputs))):
            if skip is None or block is None or skip not in before.get(block, frozenset()):
                continue
            if sizes(skip) is not None and sizes(skip) == sizes(block) and _costs(block, skip):
                yield node, skip


def _costs(block: ir.Value, skip: ir.Value) -> bool:
    """Whether anything is computed between the two that would not be any more."""
    producer = block.producer()
    alone = producer is not None and block is not skip and len(block.uses()) == 1
    return alone and producer is not None and (node_flops(producer) or 0) > 0
