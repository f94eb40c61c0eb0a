"""Write LayerNormalization in plain operators: the opposite of `fuse_layernorm`.

    d = x - mean(x)
    y = d / sqrt(mean(d d) + epsilon) * scale + shift      with the means over the last axes

Before:
    LayerNormalization(x, scale, shift)
After:
    ReduceMean, Sub, Mul, ReduceMean, Add, Sqrt, Div, Mul (scale), Add (shift)

Weights: scale and shift stay as they are.

Does not apply when:
    - its mean or deviation is read,
    - x is neither float32 nor float64, or its shape is not known,
    - `fuse_layernorm` made it.

onnxruntime's kernel takes one row after the other, number by number; its plain operators use vectors. The
square is a Mul, not a Pow, so that it does not fuse the pieces again. Measured on one x86 core, in pairs of
interleaved runs at level `all`, onnxruntime 1.28: 2.4 times as fast for (1, 64, 256), 1.7 for (1, 128, 96).
Where a sum comes before, `fuse_skip_layernorm` is faster still.

Source: ONNX LayerNormalization-17.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import onnx_ir

from edgeopt.graph.expressions import REAL, constant, opset_of, replacement
from edgeopt.graph.flops import sizes
from edgeopt.graph.matching import Found, Refusal, made
from edgeopt.graph.rewrites import Example
from edgeopt.graph.rewriting import MADE_BY

ORDER = 75
EXACT = True
SITUATIONAL = True
RTOL = 1e-4

OPPOSITE = "fuse_layernorm"
AXES_AS_INPUT = 18
"""From this opset on, ReduceMean takes them as an input."""


class ExpandLayerNorm:
    """A LayerNormalization."""

    def find(self, model: onnx_ir.Model, node: onnx_ir.Node) -> Found | Refusal | None:
        """See `edgeopt.graph.rewrites.Rule`."""
        if node.op_type != "LayerNormalization" or node.domain:
            return None
        if node.metadata_props.get(MADE_BY) == OPPOSITE:
            return None
        x = node.inputs[0]
        shape = sizes(x)
        if x is None or shape is None or x.dtype not in REAL:
            return Refusal("x is neither float32 nor float64, or its shape is not known")
        if any(output.uses() or output.is_graph_output() for output in node.outputs[1:]):
            return Refusal("its mean or deviation is read")

        def make() -> tuple[list[onnx_ir.Node], list[onnx_ir.Value]]:
            new = _pieces(model, node, x, shape)
            return new, [new[-1].outputs[0]]

        return replacement(model.graph, [node], [node.outputs[0]], make)


def _pieces(
    model: onnx_ir.Model, node: onnx_ir.Node, x: onnx_ir.Value, shape: Sequence[int]
) -> list[onnx_ir.Node]:
    nodes: list[onnx_ir.Node] = []
    first = node.attributes.get_int("axis", -1) % len(shape)
    means = [*shape[:first], *[1] * (len(shape) - first)]
    axes = [axis - len(shape) for axis in range(first, len(shape))]

    def put(operator: str, inputs: list[onnx_ir.Value | None], of: Sequence[int]) -> onnx_ir.Value:
        nodes.append(made(operator, inputs, shape=of, dtype=x.dtype))
        return nodes[-1].outputs[0]

    def mean(value: onnx_ir.Value) -> onnx_ir.Value:
        if opset_of(model) < AXES_AS_INPUT:
            nodes.append(made("ReduceMean", [value], {"axes": axes, "keepdims": 1}, means, x.dtype))
        else:
            named = constant(model.graph, f"{node.outputs[0].name}_axes", np.asarray(axes, np.int64))
            nodes.append(made("ReduceMean", [value, named], {"keepdims": 1}, means, x.dtype))
        return nodes[-1].outputs[0]

    tiny = np.asarray(node.attributes.get_float("epsilon", 1e-5), (x.dtype or REAL[0]).numpy())
    difference = put("Sub", [x, mean(x)], shape)
    variance = mean(put("Mul", [difference, difference], shape))
    epsilon = constant(model.graph, f"{node.outputs[0].name}_epsilon", tiny)
    deviation = put("Sqrt", [put("Add", [variance, epsilon], means)], means)
    result = put("Mul", [put("Div", [difference, deviation], shape), node.inputs[1]], shape)
    if len(node.inputs) > 2 and node.inputs[2] is not None:
        put("Add", [result, node.inputs[2]], shape)
    return nodes


RULES = (ExpandLayerNorm(),)


def _example(
    body: str, becomes: tuple[str, ...] | None, reason: str = "", opset: int = 17, kind: str = "float"
) -> Example:
    return Example(
        f"""<ir_version: 8, opset_import: ["": {opset}]>
        agraph ({kind}[2,3,4] x, {kind}[4] g, {kind}[3,4] p) => ({kind}[2,3,4] y, {kind}[2,3,1] m)
        {{ m = ReduceMax <axes = [2]> (x) {body} }}""",
        becomes,
        reason,
    )


_CORE = ("ReduceMean", "Sub", "Mul", "ReduceMean", "Add", "Sqrt", "Div", "Mul")

EXAMPLES = (
    _example("y = LayerNormalization (x, g, g)", ("ReduceMax", *_CORE, "Add")),
    _example("y = LayerNormalization <axis = 1, epsilon = 0.1> (x, p)", ("ReduceMax", *_CORE), kind="double"),
    Example(
        """<ir_version: 8, opset_import: ["": 18]>
        agraph (float[3,4] x, float[4] g) => (float[3,4] y) { y = LayerNormalization (x, g) }""",
        becomes=_CORE,
    ),
    Example(
        """<ir_version: 8, opset_import: ["": 17]>
        agraph (float[3,4] x, float[4] g) => (float[3,4] y, float[3,1] m)
        { y, m = LayerNormalization (x, g) }""",
        becomes=None,
        reason="is read",
    ),
    _example("y = LayerNormalization (x, g, g)", None, "neither", kind="float16"),
)
