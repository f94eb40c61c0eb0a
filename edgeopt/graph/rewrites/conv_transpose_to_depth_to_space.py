"""Write a transposed convolution whose windows do not overlap as a 1 x 1 convolution and DepthToSpace.

    kernel s = stride s: every input place gives its own s x s block = DepthToSpace(Conv(x, W', 1 x 1))

Before:
    ConvTranspose<kernel s, stride s>(x, W, b)
After:
    DepthToSpace<CRD>(Conv(x, W', b'))

Weights: W is (C, M, s, s), W' (M*s*s, C, 1, 1), b' (M*s*s,) repeats b.

Does not apply when:
    - the windows overlap or have gaps, are padded or dilated, there are groups, or the map has not two axes,
    - the output is padded (output_padding, output_shape), or its padding is computed,
    - W is not constant, or DepthToSpace has no mode CRD (before opset 11).

In float32 on x86 it takes 1.6 to 2.2 times as long (2 x 2, paired runs); a Conv, other than a ConvTranspose,
can be computed in int8.

Source: ONNX ConvTranspose-11, DepthToSpace-11; Shi et al. 2016, Is the deconvolution layer the same as a
convolutional layer?
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

ORDER = 80
EXACT = True
SITUATIONAL = True
RTOL = 1e-4

_FIRST_WITH_CRD = 11


def look(graph: onnx_ir.Graph, node: onnx_ir.Node) -> Found | Refusal | None:
    """A transposed convolution."""
    geometry, weight = Geometry.of(node), array_of(node.inputs[1])
    given = node.inputs[2] if len(node.inputs) > 2 else None
    if geometry is None:
        return Refusal("its padding is computed (auto_pad)")
    if weight is None or (given is not None and array_of(given) is None):
        return Refusal("a weight is not constant")
    if any(node.attributes.get_ints("output_padding", ())) or "output_shape" in node.attributes:
        return Refusal("its output is padded (output_padding, output_shape)")
    block = geometry.strides[0]
    plain = not geometry.is_padded and geometry.group == 1 and set(geometry.dilations) == {1}
    if block < 2 or geometry.kernel != geometry.strides or geometry.kernel != (block, block) or not plain:
        return Refusal("its windows overlap, have gaps or groups, or are padded")
    if graph.opset_imports.get("", 1) < _FIRST_WITH_CRD or sizes(node.inputs[0]) is None:
        return Refusal(
            f"DepthToSpace has no CRD mode before opset {_FIRST_WITH_CRD}, or a shape is not known"
        )
    return chain(graph, (node,), partial(_blocks, graph, node, weight, block))


def _blocks(
    graph: onnx_ir.Graph, node: onnx_ir.Node, weight: NDArray[np.generic], block: int
) -> Sequence[onnx_ir.Node]:
    name, read = node.outputs[0].name, sizes(node.inputs[0]) or ()
    channels = weight.shape[1] * block * block
    rows = np.ascontiguousarray(weight.reshape(weight.shape[0], channels).T)[:, :, None, None]
    inputs = [node.inputs[0], add_initializer(graph, f"{name}_weight", rows)]
    if (bias := array_of(node.inputs[2] if len(node.inputs) > 2 else None)) is not None:
        inputs.append(add_initializer(graph, f"{name}_bias", np.repeat(bias, block * block)))
    shape, dtype = (read[0], channels, *read[2:]), node.outputs[0].dtype
    conv = made("Conv", inputs, {"kernel_shape": [1, 1]}, shape, dtype)
    return [conv, made("DepthToSpace", [conv.outputs[0]], {"blocksize": block, "mode": "CRD"})]


RULES = (NodeRule(look, ("ConvTranspose",)),)

_NUMBERS = ", ".join(str(number % 7 - 3) for number in range(16))


def _example(body: str, out: str, becomes: tuple[str, ...] | None, reason: str = "") -> Example:
    return Example(
        f"""<ir_version: 8, opset_import: ["": 17]>
        agraph (float[1,2,3,4] x) => (float[{out}] y)
          <float[2,2,2,2] k = {{{_NUMBERS}}}, float[2] b = {{0.5, -1}}>
        {{ {body} }}""",
        becomes,
        reason,
    )


_TWO = "strides = [2, 2]"

EXAMPLES = (
    _example(f"y = ConvTranspose <{_TWO}> (x, k, b)", "1,2,6,8", ("Conv", "DepthToSpace")),
    _example(f"h = ConvTranspose <{_TWO}> (x, k) y = Neg(h)", "1,2,6,8", ("Conv", "DepthToSpace", "Neg")),
    _example("y = ConvTranspose(x, k)", "1,2,4,5", None, "overlap"),
    _example(f"y = ConvTranspose <{_TWO}, pads = [1, 1, 1, 1]> (x, k)", "1,2,4,6", None, "padded"),
    _example(
        f"y = ConvTranspose <{_TWO}, output_padding = [1, 1]> (x, k)", "1,2,7,9", None, "output_padding"
    ),
)
