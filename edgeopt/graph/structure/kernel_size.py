"""Kernel size: a convolution with fewer taps.

Before: y[o] = sum over t of W[t] x[stride o + dilation t - pad], W (M, C/group, k, ...)
After:  the same with W' (M, C/group, k - 2, ...), W'[t] = W[t + 1], and dilation fewer elements of padding at
        both ends: y has the shape that it had, and every window its middle. W' is where refitting begins:
        by least squares the taps that are left do what they can of what the others did.
The options are the kernels from large to small, `3x3`, `1x1`; an axis ends at 1 (of an odd kernel) or 2.
Zeros that a Pad in front writes for this convolution alone become its own padding.
Does not apply when: the padding is narrower than what goes, as without padding: the output would grow; W is
computed; the convolution is grouped but not depthwise, or transposed: those are not refitted.
Source: Cai, Gan & Han 2020 (arXiv:1908.09791), section 3.2: a small kernel is the middle of the large one,
and must be trained further; here it is refitted. ONNX Conv-11 for the geometry.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace

import numpy as np
import onnx_ir as ir

from edgeopt.graph.constants import constant_of
from edgeopt.graph.convolution import Geometry
from edgeopt.graph.editing import before, is_shared
from edgeopt.graph.flops import sizes
from edgeopt.graph.regions import region_of
from edgeopt.graph.rewrites.fuse_pad_conv import fill, spatial_pads
from edgeopt.graph.structure import UNCHANGED, Site
from edgeopt.graph.structure._channels import is_constant
from edgeopt.graph.structure._dropping import remove_dead
from edgeopt.graph.structure._groups import replace_constant
from edgeopt.graph.structure._knowledge import Knowledge

ORDER = 15

EXAMPLES = (
    """<ir_version: 8, opset_import: ["": 14]>
maps (float[1, 4, 12, 12] x) => (float[1, 6] y)
<float[16, 4, 5, 5] w1, float[16] b1, float[16, 1, 3, 3] w2, float[24, 16, 3, 3] w3, float[24, 6] w4,
 int64[8] around = {0, 0, 1, 1, 0, 0, 2, 2}> {
    c1 = Conv <pads = [4, 4, 4, 4], dilations = [2, 2]> (x, w1, b1)
    r1 = Relu(c1)
    c2 = Conv <auto_pad = "SAME_UPPER", group = 16> (r1, w2)
    r2 = HardSwish(c2)
    p3 = Pad(r2, around)
    c3 = Conv <strides = [2, 2]> (p3, w3)
    r3 = Relu(c3)
    g = GlobalAveragePool(r3)
    f = Flatten(g)
    y = MatMul(f, w4)
}""",
    """<ir_version: 8, opset_import: ["": 13]>
waves (float[1, 3, 30] x) => (float[1, 5, 30] y) <float[12, 3, 7] w1, float[12] b1, float[5, 12, 3] w2> {
    c1 = Conv <pads = [3, 3]> (x, w1, b1)
    t1 = Tanh(c1)
    y = Conv <pads = [1, 1]> (t1, w2)
}""",
)


def sites(model: ir.Model) -> Sequence[Site]:
    """See `Change`."""
    found: dict[str, Site] = {}
    for node in model.graph:
        options = tuple(_smaller(node))
        if options and region_of(node) not in found:
            found[region_of(node)] = Site(region_of(node), (UNCHANGED, *options))
    return list(found.values())


def apply(model: ir.Model, region: str, option: str, knowledge: Knowledge) -> ir.Model:  # noqa: ARG001
    """See `Change`."""
    if option == UNCHANGED:
        return model
    changed = model.clone()
    here = (node for node in changed.graph if region_of(node) == region)
    node = next((node for node in here if option in _smaller(node)), None)
    if node is None:
        return model
    geometry = _smaller(node)[option]
    weight = constant_of(node.inputs[1])
    middle = tuple(
        slice((have - left) // 2, (have + left) // 2)
        for have, left in zip(weight.shape[2:], geometry.kernel, strict=True)
    )
    replace_constant(
        changed.graph, node, 1, np.ascontiguousarray(weight[(slice(None), slice(None), *middle)])
    )
    if (pad := _pad_before(node)) is not None:
        node.replace_input_with(0, pad.inputs[0])
    node.attributes.pop("auto_pad", None)
    node.attributes["kernel_shape"] = ir.AttrInt64s("kernel_shape", geometry.kernel)
    node.attributes["pads"] = ir.AttrInt64s("pads", geometry.pads)
    remove_dead(changed.graph)
    return changed


def _smaller(node: ir.Node) -> Mapping[str, Geometry]:
    """Option -> what a convolution becomes; empty for any other node."""
    if node.op_type != "Conv" or node.domain or not is_constant(node.inputs[1]):
        return {}
    geometry, weight = Geometry.of(node), sizes(node.inputs[1])
    if geometry is None or weight is None or sizes(node.outputs[0]) is None:
        return {}
    if geometry.group > 1 and geometry.group != weight[0]:
        return {}
    if (pad := _pad_before(node)) is not None:
        more, axes = spatial_pads(pad) or [], len(geometry.kernel)
        geometry = replace(
            geometry, begins=_sum(geometry.begins, more[:axes]), ends=_sum(geometry.ends, more[axes:])
        )
    found: dict[str, Geometry] = {}
    while any(taps > 2 for taps in geometry.kernel):
        gone = [
            step if taps > 2 else 0 for taps, step in zip(geometry.kernel, geometry.dilations, strict=True)
        ]
        geometry = replace(
            geometry,
            kernel=tuple(taps - 2 if taps > 2 else taps for taps in geometry.kernel),
            begins=_sum(geometry.begins, [-step for step in gone]),
            ends=_sum(geometry.ends, [-step for step in gone]),
        )
        if min(geometry.pads) < 0:
            break
        found["x".join(map(str, geometry.kernel))] = geometry
    return found


def _pad_before(node: ir.Node) -> ir.Node | None:
    """A Pad that writes zeros around the maps for this convolution alone."""
    pad = before(node.inputs[0], {"Pad"})
    if (
        pad is None
        or is_shared(pad.outputs[0])
        or pad.attributes.get_string("mode", "constant") != "constant"
    ):
        return None
    if node.attributes.get_string("auto_pad", "NOTSET") not in ("NOTSET", "VALID"):
        return None
    return pad if fill(pad) == 0 and spatial_pads(pad) is not None else None


def _sum(one: Sequence[int], other: Sequence[int]) -> tuple[int, ...]:
    return tuple(a + b for a, b in zip(one, other, strict=True))
