"""Fold a scale and a shift per channel into the convolution that reads the result.

    W (f x + s) + b = (W f) x + (b + sum over taps and channels of W s)

This is where a normalisation of the input ((x - mean) / std) goes, and BatchNormalization before a Conv.
Between the two may be layers that a scale passes through: poolings, Flatten, a Concat of channels.

Before:
    Conv(p(f x + s), W, b), f x + s being BatchNormalization, or Mul, Div, Add or Sub with a constant;
    p any number of MaxPool, AveragePool, GlobalAveragePool, GlobalMaxPool, Flatten and Concat, or none
After:
    Conv(p(x), W', b'), also Gemm

Weights: Conv W is (M, C/group, *kernel), scaled along its input channels; Gemm W is (K, N), or (N, K) with
transB; f and s are one number or (C,), repeated for each place that Flatten puts beside it. Computed in
float64, stored in the type of W.

Does not apply when:
    - s is not 0 and Conv or AveragePool pads with zeros, which the shift would have made s,
    - f is negative and a MaxPool is in between, which would have to be a minimum,
    - the scaled value, or one in between, is read elsewhere too, or is an output of the model,
    - a weight is not constant, or W' is not finite in its type.

Source: ONNX Conv-11, Gemm-13, BatchNormalization-15, AveragePool-11, MaxPool-12, Concat-13; linearity.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial

import numpy as np
import onnx_ir
from numpy.typing import NDArray

from edgeopt.graph.constants import add_initializer, free_name
from edgeopt.graph.convolution import Doubles, Geometry, Weights, per_channel, scale_and_shift
from edgeopt.graph.flops import sizes
from edgeopt.graph.matching import SHARED, Found, NodeRule, Refusal, only_reader
from edgeopt.graph.rewrites import Example

ORDER = 62  # after the fusions: a hard swish ends in a division by 6
EXACT = True
RTOL = 1e-4

Effect = tuple[Doubles, Doubles]
_MAXIMA = ("MaxPool", "GlobalMaxPool")
_MEANS = ("AveragePool", "GlobalAveragePool")
_ELEMENTWISE = ("Mul", "Div", "Add", "Sub")


def look(graph: onnx_ir.Graph, node: onnx_ir.Node) -> Found | Refusal | None:
    """A scale whose way leads to a Conv or a Gemm."""
    scaled = _scaled(node)
    if scaled is None:
        return None
    position, effect = scaled
    reader, value = only_reader(node), node.outputs[0]
    reached = _target(node)
    if reached is None:
        return None
    if isinstance(effect, str):
        return Refusal(effect)
    while reader is not None and reader is not reached:
        passed = _through(reader, value, effect)
        if isinstance(passed, str):
            return Refusal(passed)
        value, effect = reader.outputs[0], passed
        reader = only_reader(reader)
    if reader is None:
        return SHARED
    if reader.inputs[0] is not value:
        return Refusal(f"it is a weight of {reader.op_type}")
    folded = folded_weights(reader, *effect)
    if isinstance(folded, str):
        return Refusal(folded)
    return Found((node,), partial(_replace, graph, node, position, reader, folded))


def _scaled(node: onnx_ir.Node) -> tuple[int, Effect | str] | None:
    """Which input is scaled, and by what; None for an operation of another kind."""
    shape = sizes(node.outputs[0])
    if shape is None or len(shape) < 2:
        return None
    if node.op_type == "BatchNormalization":
        return 0, scale_and_shift(node)
    for position in range(2):
        constant = per_channel(node.inputs[1 - position], len(shape), shape[1])
        if constant is None or sizes(node.inputs[position]) != shape:
            continue
        ones, zeros = np.ones_like(constant), np.zeros_like(constant)
        if node.op_type == "Mul":
            return position, (constant, zeros)
        if node.op_type == "Div":
            return (0, (1 / constant, zeros)) if position == 0 and constant.all() else None
        if node.op_type == "Add":
            return position, (ones, constant)
        return position, ((ones, -constant) if position == 0 else (-ones, constant))
    return None


def _target(node: onnx_ir.Node) -> onnx_ir.Node | None:
    """The Conv or Gemm at the end of the way, so that scales on any other way are of no interest."""
    for _ in range(8):
        reader = next((use.node for use in node.outputs[0].uses()), None)
        if reader is None or reader.domain or reader.graph is not node.graph:
            return None
        if reader.op_type in ("Conv", "Gemm"):
            return reader
        if reader.op_type not in (*_MAXIMA, *_MEANS, "Flatten", "Concat"):
            return None
        node = reader
    return None


def _through(node: onnx_ir.Node, value: onnx_ir.Value, effect: Effect) -> Effect | str:
    """The effect after `node`; or why it cannot pass."""
    scale, shift = effect
    shape = sizes(value)
    if shape is None:
        return "a shape is not known"
    if node.op_type in _MAXIMA:
        if (scale < 0).any():
            return "the maximum of values scaled by a negative number is their minimum"
        return "the indices of MaxPool are read" if len(node.outputs) > 1 else effect
    if node.op_type in _MEANS:
        geometry = None if node.op_type == "GlobalAveragePool" else Geometry.of(node)
        counts_padding = node.attributes.get_int("count_include_pad", 0) and geometry is not None
        if counts_padding and (geometry is None or geometry.is_padded) and shift.any():
            return "AveragePool pads with zeros, which the shift would have moved"
        return effect
    if node.op_type == "Flatten":
        if node.attributes.get_int("axis", 1) != 1:
            return "Flatten mixes channels and samples"
        places = int(np.prod(shape[2:]))
        return np.repeat(scale, places), np.repeat(shift, places)
    axis = node.attributes.get_int("axis", 0)
    if axis not in (1, 1 - len(shape)) or sum(each is value for each in node.inputs) != 1:
        return "Concat is of another axis than the channels"
    channels = [sizes(each) for each in node.inputs]
    if any(each is None for each in channels):
        return "a shape is not known"
    parts = [
        effect if each is value else (np.ones(size[1]), np.zeros(size[1]))
        for each, size in zip(node.inputs, channels, strict=True)
        if size is not None
    ]
    return np.concatenate([part[0] for part in parts]), np.concatenate([part[1] for part in parts])


def folded_weights(
    reader: onnx_ir.Node, scale: Doubles, shift: Doubles
) -> tuple[NDArray[np.generic], NDArray[np.generic]] | str:
    """The weight and the bias of the reader after the scale has gone into them; or why not."""
    weights = Weights.of(reader)
    if weights is None:
        return "a weight is not constant"
    with np.errstate(all="ignore"):
        if reader.op_type == "Gemm":
            if reader.attributes.get_float("beta", 1.0) != 1.0 or reader.attributes.get_int("transA", False):
                return "Gemm scales its bias or transposes its input"
            columns = weights.weight.T if reader.attributes.get_int("transB", 0) else weights.weight  # (K, N)
            alpha = reader.attributes.get_float("alpha", 1.0) or 0.0
            weight = columns * scale[:, None]
            given = len(reader.inputs) > 2 and reader.inputs[2] is not None
            bias = (weights.bias if given else 0.0) + alpha * (shift @ columns)
            if reader.attributes.get_int("transB", 0):
                weight = weight.T
        else:
            geometry = Geometry.of(reader)
            if geometry is None or (geometry.is_padded and shift.any()):
                return "Conv pads with zeros, which the shift would have moved"
            rows, members = weights.weight.shape[0] // geometry.group, weights.weight.shape[1]
            per_row = np.repeat(scale.reshape(geometry.group, members), rows, axis=0)  # (M, C/group)
            moved = np.repeat(shift.reshape(geometry.group, members), rows, axis=0)
            spread = (...,) + (None,) * len(geometry.kernel)
            weight = weights.weight * per_row[spread]
            bias = weights.bias + (weights.weight * moved[spread]).reshape(rows * geometry.group, -1).sum(1)
        stored = weights.stored(weight), weights.stored(np.asarray(bias))
    if stored[0] is None or stored[1] is None:
        return "a folded weight is not finite in its type"
    return stored[0], stored[1]


def _replace(
    graph: onnx_ir.Graph,
    node: onnx_ir.Node,
    position: int,
    reader: onnx_ir.Node,
    folded: tuple[NDArray[np.generic], NDArray[np.generic]],
) -> Sequence[onnx_ir.Node]:
    """Change the reader's weights, and leave the scale out.

    Values in between get other names, because their ranges are no longer those that were calibrated.
    """
    weight, bias = folded
    name = reader.outputs[0].name
    passed = only_reader(node)
    while passed is not None and passed is not reader:
        passed.outputs[0].name = free_name(graph, f"{passed.outputs[0].name}_unscaled")
        passed = only_reader(passed)
    reader.replace_input_with(1, add_initializer(graph, f"{name}_weight", weight))
    if len(reader.inputs) < 3:
        reader.resize_inputs(3)
    reader.replace_input_with(2, add_initializer(graph, f"{name}_bias", bias))
    kept = node.inputs[position]
    assert kept is not None  # noqa: S101 - `_scaled` has read its shape
    node.outputs[0].replace_all_uses_with(kept)
    graph.remove(node, safe=True)
    return []


RULES = (NodeRule(look, ("BatchNormalization", *_ELEMENTWISE)),)

_NORM = "float[2] g = {2, 0.5}, float[2] b = {1, -1}, float[2] m = {0.5, 0.25}, float[2] v = {4, 0.25}"


def _example(body: str, becomes: tuple[str, ...] | None, reason: str = "", out: str = "1,2,4,4") -> Example:
    return Example(
        f"""<ir_version: 8, opset_import: ["": 17]>
        agraph (float[1,2,4,4] x, float[1,1,4,4] u) => (float[{out}] y)
          <float[2,2,1,1] w = {{1, 2, 3, 4}}, float[2,2,3,3] k, float[2,1,1,1] d = {{3, -2}}, {_NORM},
           float[1,3,1,1] p = {{1, 2, -3}}, float[2,1,1] mean = {{0.5, 0.25}}, float std = {{0.25}},
           float[2,2] q = {{1, 2, 3, 4}}, float[2,1,1] mixed = {{1, -2}}, float[2] r = {{1, 2}},
           float[6,1] q6 = {{1, -1, 2, -2, 3, -3}}>
        {{ {body} }}""".replace("float[2,2,3,3] k", f"float[2,2,3,3] k = {{{_KERNEL}}}"),
        becomes,
        reason,
    )


_KERNEL = ", ".join(str(number % 5 - 2) for number in range(36))

EXAMPLES = (
    _example("a = Sub(x, mean) c = Div(a, std) y = Conv(c, w)", ("Conv",)),
    _example("c = Sub(mean, x) y = Conv <group = 2> (c, d, r)", ("Conv",)),
    _example("c = Mul(mean, x) y = Conv <pads = [1, 1, 1, 1]> (c, k)", ("Conv",)),
    _example("n = BatchNormalization(x, g, b, m, v) y = Conv(n, k)", ("Conv",), out="1,2,2,2"),
    _example(
        "n = BatchNormalization(x, g, b, m, v) "
        "c = MaxPool <kernel_shape = [2, 2], strides = [2, 2], pads = [1, 1, 1, 1]> (n) y = Conv(c, w)",
        ("MaxPool", "Conv"),
        out="1,2,3,3",
    ),
    _example(
        "a = Add(x, mean) c = Concat <axis = 1> (a, u) y = Conv(c, p)", ("Concat", "Conv"), out="1,1,4,4"
    ),
    _example(
        "n = BatchNormalization(x, g, b, m, v) a = GlobalAveragePool(n) f = Flatten(a) "
        "y = Gemm <alpha = 0.5, transB = 1> (f, q, r)",
        ("GlobalAveragePool", "Flatten", "Gemm"),
        out="1,2",
    ),
    _example(
        "n = BatchNormalization(x, g, b, m, v) a = AveragePool <kernel_shape = [2, 4]> (n) "
        "c = MaxPool <kernel_shape = [1, 1]> (a) f = Flatten(c) y = Gemm(f, q6)",
        ("AveragePool", "MaxPool", "Flatten", "Gemm"),
        out="1,1",
    ),
    _example("a = Sub(x, mean) y = Conv <pads = [1, 1, 1, 1]> (a, k)", None, "zeros"),
    _example(
        "a = Mul(x, mixed) c = MaxPool <kernel_shape = [1, 1]> (a) y = Conv(c, w)", None, "their minimum"
    ),
    _example("a = Mul(x, mean) c = Conv(a, w) y = Add(a, c)", None, "elsewhere"),
)
