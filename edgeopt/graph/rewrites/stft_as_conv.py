"""Write a short-time Fourier transform as a convolution with a fixed basis.

    STFT(x)[t, k] = sum_n x[t s + n] w[n] exp(-2 pi i k n / N)

Before:
    STFT(x, step, window, length)       x real, (B, L) or (B, L, 1)
After:
    Conv(x as (B, 1, L), basis, strides=step), Reshape, Transpose to (B, frames, bins, 2)

Weights: the basis is (2 * bins, 1, N): the window times cosine, then times minus sine, computed in float64;
bins = N / 2 + 1 if onesided, else N. At most 8 MiB.

Does not apply when:
    - the signal is complex, or not float32 of known shape,
    - step, window or length are computed,
    - the basis would be larger than 8 MiB.

It replaces N log N by N * bins operations a frame, and one operator of the runtime that is not optimized by
one that is: which is faster depends on N.

Source: ONNX STFT-17, Conv-11.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial

import numpy as np
import onnx_ir
from numpy.typing import NDArray

from edgeopt.graph.constants import add_initializer, array_of, scalar_of
from edgeopt.graph.editing import input_at, made, made_reshape, made_transpose, replace
from edgeopt.graph.flops import sizes
from edgeopt.graph.matching import Found, Refusal
from edgeopt.graph.rewrites import Example

ORDER = 46
EXACT = True
SITUATIONAL = True
RTOL = 1e-4

MAX_BYTES = 8 << 20


class StftAsConv:
    """An STFT of a real signal with a constant window."""

    def find(self, model: onnx_ir.Model, node: onnx_ir.Node) -> Found | Refusal | None:
        """See `edgeopt.graph.rewrites.Rule`."""
        if node.op_type != "STFT" or node.domain or node.inputs[0] is None:
            return None
        shape, result = sizes(node.inputs[0]), sizes(node.outputs[0])
        if shape is None or result is None or node.inputs[0].dtype != onnx_ir.DataType.FLOAT:
            return Refusal("the signal is not float32 of known shape")
        if len(shape) == 3 and shape[2] != 1:
            return Refusal("the signal is complex")
        step, window = scalar_of(node.inputs[1]), array_of(input_at(node, 2))
        given = scalar_of(input_at(node, 3))
        if step is None or (input_at(node, 2) is not None and window is None):
            return Refusal("its step or its window is computed")
        length = len(window) if window is not None else given
        if length is None or (given is not None and given != length):
            return Refusal("its length is computed, or not that of the window")
        if 2 * result[2] * length * 4 > MAX_BYTES:
            return Refusal("the basis would be too large")
        weights = window if window is not None else np.ones(int(length))
        return Found((node,), partial(_convolve, model.graph, node, int(step), weights, (shape, result)))


def _convolve(
    graph: onnx_ir.Graph,
    node: onnx_ir.Node,
    step: int,
    window: NDArray[np.generic],
    shapes: tuple[tuple[int, ...], tuple[int, ...]],
) -> Sequence[onnx_ir.Node]:
    (batch, samples, *_), (_, frames, bins, _) = shapes
    name, signal, dtype = str(node.outputs[0].name), node.inputs[0], node.outputs[0].dtype
    angles = 2 * np.pi * np.outer(np.arange(bins), np.arange(len(window))) / len(window)
    rows = np.concatenate([np.cos(angles), -np.sin(angles)]) * window.astype(np.float64)
    basis = add_initializer(graph, f"{name}_basis", rows[:, None].astype(np.float32))
    new = []
    if signal is None:
        return []
    new.append(made_reshape(graph, signal, (batch, 1, samples), f"{name}_signal"))
    strides = [onnx_ir.AttrInt64s("strides", [step])]
    new.append(made("Conv", [new[-1].outputs[0], basis], (batch, 2 * bins, frames), dtype, strides))
    new.append(made_reshape(graph, new[-1].outputs[0], (batch, 2, bins, frames), f"{name}_parts"))
    new.append(made_transpose(new[-1].outputs[0], (0, 3, 2, 1)))
    return replace(graph, node, new)


RULES = (StftAsConv(),)


def _example(
    signal: str, body: str, frames: tuple[int, int], becomes: tuple[str, ...] | None, reason: str = ""
) -> Example:
    return Example(
        f"""<ir_version: 8, opset_import: ["": 17]>
        agraph ({signal} x, float[4] v) => (float[{signal[6]},{frames[0]},{frames[1]},2] y)
        <int64 step = {{2}}, int64 length = {{4}}, float[4] window = {{0.5, 1, 1, 0.25}}>
        {{ {body} }}""",
        becomes,
        reason,
    )


_CONV = ("Reshape", "Conv", "Reshape", "Transpose")

EXAMPLES = (
    _example("float[2,10,1]", "y = STFT <onesided = 1> (x, step, window, length)", (4, 3), _CONV),
    _example("float[1,8,1]", "y = STFT <onesided = 0> (x, step, window)", (3, 4), _CONV),
    _example("float[1,8,1]", "y = STFT <onesided = 1> (x, step, , length)", (3, 3), _CONV),
    _example("float[1,8,2]", "y = STFT <onesided = 0> (x, step, window)", (3, 4), None, "complex"),
    _example("float[1,8,1]", "y = STFT <onesided = 1> (x, step, v, length)", (3, 3), None, "computed"),
)
