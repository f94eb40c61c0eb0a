"""Remove a Resize that changes nothing, and merge nearest-neighbour enlargements.

    resize(x, same size) = x;   repeat(repeat(x, a), b) = repeat(x, a b)
    mean(repeat(x, a)) = mean(x);   max(repeat(x, a)) = max(x)   over the whole map

Before:
    Resize or Upsample to the size that x has; one of another, both repeating each element a whole number of
    times; GlobalAveragePool or GlobalMaxPool of such a one
After:
    x, one Resize, or the pooling of x

Weights: none.

Does not apply when:
    - a part of the input is cut out (tf_crop_and_resize), or the scale is not 1 though the size stays,
    - the two do not repeat whole numbers of times (another mode, or coordinates rounded in another way),
    - the value in between is read elsewhere too, or is an output of the model.

Source: ONNX Resize-10, -11, -13, -18, -19 (coordinate_transformation_mode, nearest_mode), Upsample-9.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial

import numpy as np
import onnx_ir

from edgeopt.graph.constants import add_initializer
from edgeopt.graph.convolution import FLOATS
from edgeopt.graph.flops import sizes
from edgeopt.graph.matching import SHARED, Found, NodeRule, Refusal, before, bypass, chain, is_shared, made
from edgeopt.graph.resizing import is_cropping, repeats, scales_of
from edgeopt.graph.rewrites import Example

ORDER = 24
EXACT = True
RTOL = 1e-5

_RESIZES = ("Resize", "Upsample")


def look(graph: onnx_ir.Graph, node: onnx_ir.Node) -> Found | Refusal | None:
    """A Resize, or a global pooling."""
    first = before(node, 0, _RESIZES)
    if node.op_type not in _RESIZES:
        if first is None:
            return None
        if repeats(first) is None:
            return Refusal("the Resize does not repeat each element a whole number of times")
        if is_shared(first.outputs[0]):
            return SHARED
        return chain(graph, (first, node), lambda: [made(node.op_type, [first.inputs[0]])])
    value = node.inputs[0]
    if value is not None and sizes(value) is not None and sizes(value) == sizes(node.outputs[0]):
        if is_cropping(node) or any(scale != 1 for scale in scales_of(node) or (0.0,)):
            return Refusal("it cuts a part out, or its scale is not 1")
        return bypass(node, value)
    if first is None:
        return None
    if repeats(first) is None or repeats(node) is None or value is None or value.dtype not in FLOATS:
        return Refusal("the two do not repeat each element a whole number of times")
    if is_shared(first.outputs[0]):
        return SHARED
    inner, outer = sizes(first.inputs[0]), sizes(node.outputs[0])
    if inner is None or outer is None:
        return Refusal("a shape is not known")
    return chain(graph, (first, node), partial(_build, graph, first, node, inner, outer))


def _build(
    graph: onnx_ir.Graph, first: onnx_ir.Node, node: onnx_ir.Node, inner: Sequence[int], outer: Sequence[int]
) -> Sequence[onnx_ir.Node]:
    scales = np.asarray([large / small for small, large in zip(inner, outer, strict=True)], np.float32)
    given = add_initializer(graph, f"{node.outputs[0].name}_scales", scales)
    attributes = {name: value for name, value in node.attributes.items() if name != "axes"}
    inputs = [first.inputs[0], given] if len(node.inputs) == 2 else [first.inputs[0], None, given]
    return [made(node.op_type, inputs, attributes)]


RULES = (NodeRule(look, (*_RESIZES, "GlobalAveragePool", "GlobalMaxPool")),)


def _example(body: str, becomes: tuple[str, ...] | None, reason: str = "", out: str = "1,1,8,8") -> Example:
    return Example(
        f"""<ir_version: 8, opset_import: ["": 17]>
        agraph (float[1,1,2,2] x) => (float[{out}] y)
          <float[4] one = {{1, 1, 1, 1}}, float[4] twice = {{1, 1, 2, 2}},
           int64[4] four = {{1, 1, 4, 4}}, int64[4] eight = {{1, 1, 8, 8}},
           float[8] roi = {{0, 0, 0, 0, 1, 1, 1, 1}}>
        {{ {body} }}""",
        becomes,
        reason,
    )


_TWICE = 'Resize <mode = "nearest", coordinate_transformation_mode = "asymmetric", nearest_mode = "floor">'

EXAMPLES = (
    _example('a = Resize <mode = "linear"> (x, , one) y = Relu(a)', ("Relu",), out="1,1,2,2"),
    _example(f"a = {_TWICE} (x, , twice) y = {_TWICE} (a, , twice)", ("Resize",)),
    _example("a = Resize(x, , , four) y = Resize(a, , , eight)", ("Resize",)),
    _example(f"a = {_TWICE} (x, , twice) y = GlobalAveragePool(a)", ("GlobalAveragePool",), out="1,1,1,1"),
    _example(
        'a = Resize <mode = "linear"> (x, , twice) y = Resize <mode = "linear"> (a, , twice)', None, "whole"
    ),
    _example(
        'a = Resize <coordinate_transformation_mode = "asymmetric"> (x, , twice) y = Resize(a, , twice)',
        None,
        "whole",
    ),
    _example(
        'a = Resize <coordinate_transformation_mode = "tf_crop_and_resize", mode = "linear"> (x, roi, one) '
        "y = Relu(a)",
        None,
        "cuts",
        out="1,1,2,2",
    ),
    _example(
        f"a = {_TWICE} (x, , twice) b = {_TWICE} (a, , twice) c = GlobalMaxPool(a) y = Add(b, c)",
        None,
        "elsewhere",
    ),
)
