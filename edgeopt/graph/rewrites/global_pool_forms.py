"""Write a mean or maximum over the whole map as a global pooling.

    mean of x over H, W = GlobalAveragePool(x);   max of x over H, W = GlobalMaxPool(x)

Before:
    ReduceMean(x) or ReduceMax(x) over all spatial axes; AveragePool or MaxPool whose one window is the map
After:
    GlobalAveragePool(x) or GlobalMaxPool(x), and a Reshape where the axes are not kept

Weights: none; x is (N, C, *spatial).

Does not apply when:
    - the axes are not exactly all the spatial ones, or are not constant,
    - a reduction of three axes: its last one mostly holds features, and the mean is a part of a LayerNorm,
    - the window is smaller than the map, moves, or counts padding,
    - x is not float32: onnxruntime pools nothing else on processors, and reduces more types,
    - a shape is not known.

onnxruntime computes ReduceMean over the last axes about as fast as GlobalAveragePool; after a Conv only the
latter stays in the blocked layout of its extended optimizations.

Source: ONNX GlobalAveragePool-1, ReduceMean-13 and -18 (axes are an input), AveragePool-11.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from functools import partial

import numpy as np
import onnx_ir

from edgeopt.graph.constants import add_initializer, array_of
from edgeopt.graph.convolution import Geometry
from edgeopt.graph.flops import sizes
from edgeopt.graph.matching import Found, NodeRule, Refusal, chain, made
from edgeopt.graph.rewrites import Example

ORDER = 32
EXACT = True
RTOL = 1e-5

_GLOBAL = {
    "ReduceMean": "GlobalAveragePool",
    "AveragePool": "GlobalAveragePool",
    "ReduceMax": "GlobalMaxPool",
    "MaxPool": "GlobalMaxPool",
}


def look(graph: onnx_ir.Graph, node: onnx_ir.Node) -> Found | Refusal | None:
    """A reduction or a pooling over the map."""
    value, written = node.inputs[0], sizes(node.outputs[0])
    read = sizes(value)
    if value is None or read is None or written is None or len(read) not in (3, 4, 5):
        return None
    if value.dtype != onnx_ir.DataType.FLOAT or math.prod(read) == 0:
        return None
    if node.op_type.startswith("Reduce"):
        if len(read) == 3:
            return None
        axes = _axes(node, len(read))
        if axes is None:
            return Refusal("the axes are not constant")
        if axes != list(range(2, len(read))):
            return None
    else:
        geometry = Geometry.of(node)
        if geometry is None or any(size != 1 for size in written[2:]) or len(node.outputs) > 1:
            return None
        if geometry.kernel != read[2:] or any(geometry.begins):
            return Refusal("its window is not the whole map")
        if any(step != 1 for step in geometry.dilations) or any(geometry.ends):
            return Refusal("its window is not the whole map")
    return chain(graph, (node,), partial(_build, graph, node, value, read, written))


def _axes(node: onnx_ir.Node, rank: int) -> list[int] | None:
    given = node.attributes.get_ints("axes", ())
    if len(node.inputs) > 1 and node.inputs[1] is not None:
        array = array_of(node.inputs[1])
        if array is None:
            return None
        given = tuple(int(axis) for axis in array.reshape(-1))
    return sorted(axis % rank for axis in given)


def _build(
    graph: onnx_ir.Graph,
    node: onnx_ir.Node,
    value: onnx_ir.Value,
    read: Sequence[int],
    written: Sequence[int],
) -> Sequence[onnx_ir.Node]:
    pooled = (*read[:2], *(1,) * (len(read) - 2))
    pool = made(_GLOBAL[node.op_type], [value], {}, pooled, value.dtype)
    if written == pooled:
        return [pool]
    shape = add_initializer(graph, f"{node.outputs[0].name}_shape", np.asarray(written, np.int64))
    return [pool, made("Reshape", [pool.outputs[0], shape])]


RULES = (NodeRule(look, tuple(_GLOBAL)),)


def _example(
    body: str, becomes: tuple[str, ...] | None, reason: str = "", out: str = "1,2,1,1", opset: int = 17
) -> Example:
    return Example(
        f"""<ir_version: 8, opset_import: ["": {opset}]>
        agraph (float[1,2,3,4] x) => (float[{out}] y) <int64[2] axes = {{-1, 2}}, int64[1] last = {{3}}>
        {{ {body} }}""",
        becomes,
        reason,
    )


EXAMPLES = (
    _example("y = ReduceMean <axes = [2, 3]> (x)", ("GlobalAveragePool",)),
    _example(
        "y = ReduceMean <keepdims = 0> (x, axes)", ("GlobalAveragePool", "Reshape"), out="1,2", opset=18
    ),
    _example("y = ReduceMax <axes = [-1, -2], keepdims = 0> (x)", ("GlobalMaxPool", "Reshape"), out="1,2"),
    _example("y = AveragePool <kernel_shape = [3, 4]> (x)", ("GlobalAveragePool",)),
    _example("y = MaxPool <kernel_shape = [3, 4], strides = [2, 2]> (x)", ("GlobalMaxPool",)),
    _example("y = AveragePool <kernel_shape = [3, 2], strides = [1, 3]> (x)", None, "whole map"),
    _example("y = ReduceMean <axes = [3]> (x)", None, out="1,2,3,1"),
    Example(
        """<ir_version: 8, opset_import: ["": 18]>
        agraph (float[1,2,3,4] x, int64[2] axes) => (float[1,2,1,1] y) { y = ReduceMean(x, axes) }""",
        becomes=None,
    ),
)
