"""Resolution: the network runs on a smaller picture.

Before: x (N, C, H, W) -> convolutions, poolings, ... -> a mean or maximum over the whole map -> ...
After:  x -> AveragePool by a whole factor, or else Resize (linear) -> the same network on (N, C, h, w)
The options are shares of H and of W, each rounded to a whole number. The input keeps its shape, and so does
everything behind the last pooling: a pooling whose one window is the map becomes a global one. Layers on the
smaller maps are refitted to what they computed, brought to the smaller grid by averaging. A picture that
comes channels last is made smaller behind the Transpose that turns it.
Does not apply when: (`refusals` tells which) an output has other shapes then, as maps have; a Flatten or
Reshape, a product or another operator that is not known here reads a map; a constant holds a size, as
position embeddings do; a window is larger than what is left. Inputs that are not (N, C, H, W) floats, so no
axis of time: a series at half the rate is another signal, and a recurrence on it takes other steps.
Source: Howard et al. 2017 (arXiv:1704.04861), section 3.4: the resolution multiplier. ONNX AveragePool-7,
Resize-11 and -13.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

import numpy as np
import onnx
import onnx_ir as ir

from edgeopt.graph import rewriting
from edgeopt.graph.constants import add_initializer
from edgeopt.graph.convolution import FLOATS
from edgeopt.graph.editing import permutation
from edgeopt.graph.flops import node_flops, sizes
from edgeopt.graph.reading import read_by
from edgeopt.graph.regions import REGION_TAG, region_of
from edgeopt.graph.shapes import infer
from edgeopt.graph.structure import UNCHANGED, Site
from edgeopt.graph.structure._cutting import SHARES
from edgeopt.graph.structure._knowledge import Knowledge
from edgeopt.graph.structure._passing import BINARY, UNARY

ORDER = 5

TO_CHANNELS_FIRST = [0, 3, 1, 2]
RESIZE_BY_SIZES = 11
"""The opset from which on Resize takes sizes; before it, only whole factors are offered."""

POOLED = frozenset({"AveragePool", "MaxPool", "GlobalAveragePool", "GlobalMaxPool"})
REDUCED = frozenset({"ReduceMean", "ReduceMax", "ReduceMin"})
"""Over fewer elements they are about what they were; a sum is not."""
LOCAL = POOLED | REDUCED | {"Conv", "BatchNormalization", "InstanceNormalization", "LRN", "Transpose", *UNARY}
"""Operators that do on a smaller map what they did on the larger one."""

EXAMPLES = (
    """<ir_version: 8, opset_import: ["": 17]>
pictures (float[1, 3, 16, 16] x) => (float[1, 5] y)
<float[8, 3, 3, 3] w1, float[8] b1, float[8, 1, 3, 3] w2, float[12, 8, 1, 1] w3, float[12, 12, 3, 3] w4,
 float[12, 5] w5, float[5] b5, float[3, 1, 1] mean = {0.1, 0.2, 0.3}> {
    n = Sub(x, mean)
    c1 = Conv <pads = [1, 1, 1, 1], strides = [2, 2]> (n, w1, b1)
    r1 = Relu(c1)
    c2 = Conv <auto_pad = "SAME_UPPER", group = 8> (r1, w2)
    r2 = HardSwish(c2)
    c3 = Conv(r2, w3)
    c4 = Conv <pads = [1, 1, 1, 1]> (c3, w4)
    a = Add(c4, c3)
    p = AveragePool <kernel_shape = [8, 8]> (a)
    f = Flatten(p)
    y = Gemm(f, w5, b5)
}""",
    """<ir_version: 8, opset_import: ["": 11]>
last (float[1, 18, 24, 2] x) => (float[1, 6] y) <float[6, 2, 3, 3] w1, float[6, 6, 3, 3] w2> {
    t = Transpose <perm = [0, 3, 1, 2]> (x)
    c1 = Conv(t, w1)
    r1 = Relu(c1)
    c2 = Conv <pads = [1, 1, 1, 1]> (r1, w2)
    y = ReduceMean <axes = [2, 3], keepdims = 0> (c2)
}""",
)


def sites(model: ir.Model) -> Sequence[Site]:
    """See `Change`."""
    found: dict[str, Site] = {}
    for picture in _pictures(model.graph):
        options, least = [UNCHANGED], _flops(model)
        for share in SHARES[1:]:
            made = _smaller(model, str(picture.name), share)
            if not isinstance(made, str) and _flops(made) < least:
                options.append(share)
                least = _flops(made)
        region = _region(picture)
        if len(options) > 1 and region not in found:
            found[region] = Site(region, tuple(options))
    return list(found.values())


def apply(model: ir.Model, region: str, option: str, knowledge: Knowledge) -> ir.Model:  # noqa: ARG001
    """See `Change`."""
    if option == UNCHANGED:
        return model
    picture = next((one for one in _pictures(model.graph) if _region(one) == region), None)
    made = _smaller(model, str(picture.name), option) if picture is not None else ""
    return model if isinstance(made, str) else made


def refusals(model: ir.Model) -> Mapping[str, str]:
    """Why the pictures that cannot be made half as large cannot: name of the value -> reason."""
    made = {str(one.name): _smaller(model, str(one.name), SHARES[-1]) for one in _pictures(model.graph)}
    return {name: reason for name, reason in made.items() if isinstance(reason, str)}


def _pictures(graph: ir.Graph) -> Iterator[ir.Value]:
    """Inputs of the model that may be pictures, (N, C, H, W)."""
    for given in graph.inputs:
        readers = [use.node for use in given.uses()]
        turned = len(readers) == 1 and readers[0].op_type == "Transpose"
        if turned and permutation(readers[0]) == TO_CHANNELS_FIRST and not given.is_graph_output():
            given = readers[0].outputs[0]
        is_map = len(sizes(given) or ()) == 4 and given.dtype in FLOATS and not given.is_graph_output()
        if is_map and given.uses() and all(use.node.graph is graph for use in given.uses()):
            yield given


def _region(picture: ir.Value) -> str:
    """Of the first that reads it."""
    readers = {use.node for use in picture.uses()}
    graph = next(iter(readers)).graph
    return region_of(next(node for node in graph or () if node in readers))


def _flops(model: ir.Model) -> int:
    return sum(node_flops(node) or 0 for node in model.graph)


def _smaller(model: ir.Model, name: str, share: str) -> ir.Model | str:
    """The model with a smaller picture inside, or why that cannot be."""
    changed = model.clone()
    rewriting.apply(changed, lambda rewrite, _: rewrite == "global_pool_forms")
    graph = changed.graph
    picture = next(one for one in _pictures(graph) if one.name == name)
    before = {value: sizes(value) for node in graph for value in node.outputs}
    made = _reduced(graph, picture, float(share.removesuffix("%")) / 100)
    if made is None:
        return "Resize takes sizes from opset 11 on, and AveragePool whole factors only"
    for value in _behind(graph, made):
        value.shape = None
    contradiction = None
    try:
        infer(changed, strict=True)
    except onnx.shape_inference.InferenceError as error:
        contradiction = (
            f"shapes contradict each other on a smaller map: {str(error).strip().splitlines()[-1]}"
        )
        infer(changed, strict=False)  # as far as it goes, to tell by whom
    return _broken(graph, before, made) or contradiction or changed


def _reduced(graph: ir.Graph, picture: ir.Value, share: float) -> ir.Node | None:
    """Let all that read a picture read a smaller one."""
    shape = sizes(picture) or ()
    small = (*shape[:2], *(max(1, round(size * share)) for size in shape[2:]))
    factors = [size // less for size, less in zip(shape[2:], small[2:], strict=True)]
    opset = graph.opset_imports.get("", 1)
    readers = {use.node for use in picture.uses()}
    first = next(node for node in graph if node in readers)
    if all(less * factor == size for size, less, factor in zip(shape[2:], small[2:], factors, strict=True)):
        window = {"kernel_shape": factors, "strides": factors}
        node = ir.node("AveragePool", [picture], window)
    elif opset >= RESIZE_BY_SIZES:
        wanted = add_initializer(graph, f"{picture.name}_sizes", np.asarray(small, np.int64))
        # Before opset 13 the region and the scales must be there, and are empty.
        empty = (
            add_initializer(graph, f"{picture.name}_none", np.zeros(0, np.float32)) if opset < 13 else None
        )
        how = {"mode": "linear", "coordinate_transformation_mode": "half_pixel"}
        node = ir.node("Resize", [picture, empty, empty, wanted], how)
    else:
        return None
    node.name = f"{picture.name}_resolution"
    node.metadata_props[REGION_TAG] = region_of(first)
    node.outputs[0].name = f"{picture.name}_small"
    node.outputs[0].type = picture.type
    graph.insert_before(first, node)
    picture.replace_all_uses_with(node.outputs[0])
    node.replace_input_with(0, picture)
    node.outputs[0].shape = ir.Shape(small)
    return node


def _behind(graph: ir.Graph, first: ir.Node) -> list[ir.Value]:
    """All that is computed from a node's output."""
    seen = set(first.outputs)
    for node in graph:
        if any(value in seen for value in read_by(node)):
            seen.update(node.outputs)
    return [value for node in graph if node is not first for value in node.outputs if value in seen]


def _broken(graph: ir.Graph, before: Mapping[ir.Value, tuple[int, ...] | None], first: ir.Node) -> str | None:
    """What the smaller maps break, if anything."""
    moved: dict[ir.Value, set[int]] = {first.outputs[0]: {2, 3}}  # value -> axes that are smaller
    for node in (node for node in graph if node is not first):
        where = f"{node.op_type} {node.name!r}"
        if any(value in moved for value in read_by(node)) and (why := _why_not(node, moved)) is not None:
            return f"{where} {why}"
        for value in node.outputs:
            old, now = before.get(value), sizes(value)
            if old is not None and (now is None or len(now) != len(old) or min(now, default=1) < 1):
                return f"{where} has nothing to write on a smaller map"
            if old is not None and now is not None and now != old:
                moved[value] = {axis for axis, size in enumerate(now) if size != old[axis]}
    broken = next((value for value in graph.outputs if value in moved), None)
    return None if broken is None else f"output {broken.name!r} would have another shape"


def _why_not(node: ir.Node, moved: Mapping[ir.Value, set[int]]) -> str | None:
    """Why a node that reads a smaller map does not do what it did; None if it does."""
    if not node.domain and node.op_type in LOCAL:
        return None
    rank = len(sizes(node.outputs[0]) or ())
    axes = {axis for value in node.inputs if value is not None for axis in moved.get(value, ())}
    if not node.domain and node.op_type == "Concat":
        joined = (node.attributes.get_int("axis", 0) or 0) % max(rank, 1)
        return "joins maps along a side that would be smaller" if joined in axes else None
    if not node.domain and node.op_type == "Pad":
        mode = node.attributes.get_string("mode", "constant")
        return None if mode in ("constant", "edge") else "mirrors what may be too small for that"
    if node.domain or node.op_type not in BINARY:
        return "reads a map that would be smaller"
    from_end = {axis - len(sizes(v) or ()) for v in node.inputs if v is not None for axis in moved.get(v, ())}
    for value in node.inputs:
        shape = sizes(value) or ()
        is_held = any(-axis <= len(shape) and shape[axis] > 1 for axis in from_end)
        if is_held and value is not None and value.is_initializer():
            return "reads a constant that holds the size of a map"
    return None
