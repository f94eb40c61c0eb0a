"""Rounds the weights of static int8 by what they do to a layer's output, not each to the nearest integer.

For a layer y = W x + b with inputs x of mean m and covariance C on calibration data, and D = s W_q - W:

    nearest         W_q = round(W / s)
    bias_corrected  the same, and b - D m in place of b: no channel of y is off on average
    least_squares   W_q that makes D C D' small, column by column: the error of each column is made up for by
                    those that are not yet rounded, w_k -= (w_j - s q_j) U_jk / U_jj for k > j, where
                    U'U = (C + damping)^-1 with U upper triangular; and b - D m in place of b

Where a layer has no place for b (a MatMul that no vector is added to), `least_squares` takes the second
moments, C + m m', in place of C, and `bias_corrected` is `nearest`. A row that is not better than to the
nearest by this measure stays to the nearest.

Does not apply to layers whose input is a tensor that a rewrite made, or was not finite on the data, and to
weights of more than two axes of MatMul: they are rounded to the nearest.

Source: Nagel et al. 2019 (arXiv:1906.04721), section 4.2; Frantar et al. 2022 (arXiv:2210.17323), section 3.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np
import onnx_ir as ir
from numpy.typing import NDArray

from edgeopt.graph.convolution import Geometry
from edgeopt.graph.moments import Moments, Reads, Statistics, bounds
from edgeopt.graph.precision._arithmetic import Floats
from edgeopt.graph.precision._least_squares import least_squares
from edgeopt.graph.precision._weights import Int8, Weights, constant, operand

METHODS = ("nearest", "bias_corrected", "least_squares")
"""The first is the default; those behind it need `Statistics`."""


@dataclass(frozen=True, slots=True)
class Rounding:
    """How one candidate's static schemes round.

    Attributes:
        method: One of `METHODS`.
        statistics: Prepared for the candidate's layers.
        divided: By what the channels of a tensor were divided (`equalization`).
    """

    method: str
    statistics: Statistics
    divided: Mapping[str, Floats] = field(default_factory=dict)

    def of(
        self, node: ir.Node, axis: int, made: Int8, weights: Weights, *, has_bias: bool
    ) -> tuple[Int8, Floats | None]:
        """The weight of `node` in int8 with the scales of `made`, and what is to be added to its bias, (C,).

        Args:
            axis: Of the weight's output channels.
            made: To the nearest.
            has_bias: Whether the layer has a place for a bias.
        """
        reads = reads_of(node)
        if self.method == METHODS[0] or reads is None or (self.method == METHODS[1] and not has_bias):
            return made, None
        weight, tensor = operand(node, 1), str(reads.tensor)
        scale = self.divided.get(tensor)
        form = f"{self.method} {axis} {reads} {has_bias} {made.scale.tobytes().hex()} {made.most}"
        form += "" if scale is None else scale.tobytes().hex()

        def make() -> tuple[NDArray[np.int8], Floats]:
            moments = self.statistics.moments(reads)
            if moments is None:
                return made.values, np.zeros(0, np.float32)
            moments = moments if scale is None else moments.divided(scale)
            floats = weights.floats(weight)
            if floats is None:
                return made.values, np.zeros(0, np.float32)
            return self._rounded(floats, axis, made, moments, has_bias)

        values, correction = weights.made(weight, form, make)
        return Int8(values, made.scale, made.axis, made.most), correction if correction.size else None

    def _rounded(
        self, weight: Floats, axis: int, made: Int8, moments: Moments, has_bias: bool
    ) -> tuple[NDArray[np.int8], Floats]:
        groups, n = moments.mean.shape
        exact = _rows(weight, axis, groups, n).astype(np.float64)
        scale = np.broadcast_to(made.scale.astype(np.float64).reshape(-1), (exact.shape[0] * exact.shape[1],))
        scale = scale.reshape(exact.shape[0], exact.shape[1], 1)
        levels = _rows(made.values, axis, groups, n).astype(np.float64)
        mean = moments.mean.astype(np.float64)
        values = made.values
        if self.method == METHODS[2]:
            for (start, stop), covariance in zip(bounds(n), moments.covariance, strict=True):
                part = mean[:, start:stop]
                second = covariance.astype(np.float64)
                if not has_bias:
                    second = second + part[:, :, None] * part[:, None, :]
                levels[:, :, start:stop] = least_squares(
                    exact[:, :, start:stop], levels[:, :, start:stop], scale, second, made.most
                )
            values = _as_weight(levels.astype(np.int8), axis, weight.shape)
        if not has_bias:
            return values, np.zeros(0, np.float32)
        expected = ((levels * scale - exact) @ mean[:, :, None]).reshape(-1)
        return values, -expected.astype(np.float32)


def reads_of(node: ir.Node) -> Reads | None:
    """What a weighted layer reads; None if that cannot be told in rows."""
    data, weight = operand(node, 0), operand(node, 1)
    if node.op_type == "Conv":
        geometry = Geometry.of(node)
        return None if geometry is None else Reads(str(data.name), geometry)
    tensor = constant(weight)
    if tensor is None or len(tensor.shape) != 2:
        return None
    return Reads(str(data.name), None)


def _rows(weight: NDArray[np.generic], axis: int, groups: int, n: int) -> NDArray[np.generic]:
    """(g, m, n): one row for each output channel."""
    return np.moveaxis(weight, axis, 0).reshape(groups, -1, n)


def _as_weight(rows: NDArray[np.int8], axis: int, shape: tuple[int, ...]) -> NDArray[np.int8]:
    first = (shape[axis], *(size for index, size in enumerate(shape) if index != axis))
    return np.ascontiguousarray(np.moveaxis(rows.reshape(first), 0, axis))
