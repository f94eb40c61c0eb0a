"""Let a first convolution of stride 2 read 2 x 2 blocks as channels.

    x[2 i + r] is channel (r, c) of place i; W[k] reads x[2 o + k - p],
    part (k - p) % 2 of block o + (k - p) // 2

Before:
    Conv<stride 2, kernel k, pads p>(x (N, C, H, W), W, b), C at most 4
After:
    Conv<stride 1, kernel k', pads p'>(SpaceToDepth<2>(x), W', b)

Weights: W is (M, C, kh, kw), W' (M, 4 C, kh', kw') with zeros where a block has no tap; k' is about k / 2.

Does not apply when:
    - a stride is not 2, there are groups or dilation, or the map has not two axes of even size,
    - the channels are many: the kernels of runtimes are good at those,
    - W is not constant, or a shape is not known.

On x86 with onnxruntime this is slower (its kernel for three channels reads them as they are); on processors
where only multiples of 4 channels are fast it is the usual form of a stem.

Source: ONNX SpaceToDepth-13 (order of the channels: block row, block column, channel), Conv-11; Ying et al.
2018, Image classification at supercomputer scale (the stem).
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial

import numpy as np
import onnx_ir
from numpy.typing import NDArray

from edgeopt.graph.constants import add_initializer, array_of
from edgeopt.graph.convolution import Geometry
from edgeopt.graph.flops import sizes
from edgeopt.graph.matching import Found, NodeRule, Refusal, chain, made
from edgeopt.graph.rewrites import Example

ORDER = 84
EXACT = True
SITUATIONAL = True
RTOL = 1e-4

_MOST_CHANNELS = 4


def look(graph: onnx_ir.Graph, node: onnx_ir.Node) -> Found | Refusal | None:
    """A Conv of stride 2 and few channels."""
    read = sizes(node.inputs[0])
    if tuple(node.attributes.get_ints("strides", ())) != (2, 2) or read is None or len(read) != 4:
        return None
    if read[1] > _MOST_CHANNELS:
        return Refusal(f"it has more than {_MOST_CHANNELS} channels")
    geometry, weight = Geometry.of(node), array_of(node.inputs[1])
    if weight is None or geometry is None or sizes(node.outputs[0]) is None:
        return Refusal("its weight is not constant, or a shape is not known")
    if geometry.group != 1 or geometry.dilations != (1, 1):
        return Refusal("it has groups or dilation")
    if read[2] % 2 or read[3] % 2:
        return Refusal("a side of the map is odd")
    return chain(graph, (node,), partial(_build, graph, node, geometry, weight))


def _build(
    graph: onnx_ir.Graph, node: onnx_ir.Node, geometry: Geometry, weight: NDArray[np.generic]
) -> Sequence[onnx_ir.Node]:
    read, written = sizes(node.inputs[0]) or (), sizes(node.outputs[0]) or ()
    channels = read[1]
    lows = [-begin // 2 for begin in geometry.begins]  # the first block that a window reads
    kernel = [
        (taps - 1 - begin) // 2 - low + 1
        for taps, begin, low in zip(geometry.kernel, geometry.begins, lows, strict=True)
    ]
    blocks = np.zeros((weight.shape[0], 4 * channels, *kernel), weight.dtype)
    for row in range(geometry.kernel[0]):
        for column in range(geometry.kernel[1]):
            down, right = row - geometry.begins[0], column - geometry.begins[1]
            first = ((down % 2) * 2 + right % 2) * channels
            place = (down // 2 - lows[0], right // 2 - lows[1])
            blocks[:, first : first + channels, place[0], place[1]] = weight[:, :, row, column]
    half = [size // 2 for size in read[2:]]
    begins = [-low for low in lows]
    ends = [
        count - 1 + taps - size - begin
        for count, taps, size, begin in zip(written[2:], kernel, half, begins, strict=True)
    ]
    dtype = node.outputs[0].dtype
    shape = (read[0], 4 * channels, *half)
    new: list[onnx_ir.Node] = [made("SpaceToDepth", [node.inputs[0]], {"blocksize": 2}, shape, dtype)]
    if any(end < 0 for end in ends):  # windows end before the map does: leave the rest out
        stops = [size + min(end, 0) for size, end in zip(half, ends, strict=True)]
        new.append(_head(graph, node, new[0].outputs[0], (*shape[:2], *stops)))
    inputs = [new[-1].outputs[0], add_initializer(graph, f"{node.outputs[0].name}_weight", blocks)]
    attributes = {"kernel_shape": kernel, "pads": [*begins, *(max(end, 0) for end in ends)]}
    return [*new, made("Conv", [*inputs, *node.inputs[2:]], attributes)]


def _head(
    graph: onnx_ir.Graph, node: onnx_ir.Node, value: onnx_ir.Value, shape: Sequence[int]
) -> onnx_ir.Node:
    name = node.outputs[0].name
    numbers = ("starts", (0, 0)), ("ends", shape[2:]), ("axes", (2, 3))
    inputs = [add_initializer(graph, f"{name}_{key}", np.asarray(given, np.int64)) for key, given in numbers]
    return made("Slice", [value, *inputs], {}, shape, node.outputs[0].dtype)


RULES = (NodeRule(look, ("Conv",)),)

_NUMBERS = ", ".join(str(number % 7 - 3) for number in range(25))


def _example(shape: str, body: str, out: str, becomes: tuple[str, ...] | None, reason: str = "") -> Example:
    return Example(
        f"""<ir_version: 8, opset_import: ["": 17]>
        agraph (float[{shape}] x) => (float[{out}] y)
          <float[1,1,5,5] w = {{{_NUMBERS}}}, float[1,1,2,2] k = {{1, 2, 3, 4}}, float[1] b = {{0.5}},
           float[2,1,1,1] d = {{1, 2}}>
        {{ {body} }}""",
        becomes,
        reason,
    )


_TWO = "strides = [2, 2]"
_STEM = ("SpaceToDepth", "Conv")

EXAMPLES = (
    _example("1,1,8,8", f"y = Conv <{_TWO}, pads = [2, 2, 2, 2]> (x, w, b)", "1,1,4,4", _STEM),
    _example("1,1,8,6", f"y = Conv <{_TWO}, pads = [1, 0, 2, 3]> (x, w)", "1,1,4,3", _STEM),
    _example("1,1,4,4", f"y = Conv <{_TWO}> (x, k)", "1,1,2,2", _STEM),
    _example("1,1,8,8", f'y = Conv <{_TWO}, auto_pad = "SAME_UPPER"> (x, w)', "1,1,4,4", _STEM),
    _example("1,1,7,8", f"y = Conv <{_TWO}, pads = [2, 2, 2, 2]> (x, w)", "1,1,4,4", None, "odd"),
    _example("1,2,4,4", f"y = Conv <{_TWO}, group = 2> (x, d)", "1,2,2,2", None, "groups"),
)
