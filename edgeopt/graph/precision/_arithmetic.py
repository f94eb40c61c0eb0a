"""The arithmetic of int8 quantization: real = scale * (integer - zero_point)."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float32]

MOST = 127
"""The largest integer of a symmetric weight."""

MOST_7_BITS = 63
"""Where two products of uint8 and int8 are summed in 16 bits: 2 * 255 * 63 fits, 2 * 255 * 127 saturates."""

_SMALLEST_SCALE = float(np.finfo(np.float32).tiny)  # subnormal scales divide to infinity in some kernels
_LARGEST_BIAS = 2.0**30  # leaves a bit of the int32 accumulator to the products


@dataclass(frozen=True, slots=True)
class Affine:
    """How one activation tensor is mapped to int8."""

    scale: float
    zero_point: int


def activation(low: float, high: float) -> Affine:
    """Asymmetric int8 for values in [low, high]; zero is always represented exactly (padding needs it).

    Source: ONNX QuantizeLinear-13; the int8 form of Jacob et al. 2018 (arXiv:1712.05877), equation 1.
    """
    low, high = min(low, 0.0), max(high, 0.0)
    scale = float(np.float32((high - low) / 255.0))
    if scale < _SMALLEST_SCALE:
        return Affine(1.0, 0)
    return Affine(scale, int(np.clip(np.rint(-128.0 - low / scale), -128, 127)))


def quantize(values: Floats, affine: Affine) -> NDArray[np.int8]:
    """Constants that take part as activations, rounded half to even as QuantizeLinear does."""
    levels = np.rint(values / np.float32(affine.scale)) + affine.zero_point
    integers: NDArray[np.int8] = np.clip(levels, -128, 127).astype(np.int8)
    return integers


def unsigned(values: NDArray[np.int8]) -> NDArray[np.uint8]:
    """The same numbers 128 higher, as uint8: with the zero point moved too they stand for the same reals."""
    moved: NDArray[np.uint8] = values.view(np.uint8) ^ np.uint8(128)
    return moved


def weight_scale(
    weight: Floats, axis: int | None, least: NDArray[np.float64] | float = 0.0, most: int = MOST
) -> Floats:
    """Symmetric scales, max|w| / `most`, per tensor (shape ()) or per slice along `axis` (shape (C,)).

    Args:
        weight: Finite values of any shape.
        axis: Output-channel axis; None for one scale.
        least: No scale is smaller than this: see `least_scale`.
        most: The largest integer.
    """
    others = None if axis is None else tuple(i for i in range(weight.ndim) if i != axis % weight.ndim)
    largest = np.maximum(weight.max(axis=others, initial=0.0), -weight.min(axis=others, initial=0.0))
    scale = np.maximum(largest.astype(np.float64) / most, least)
    return np.where(scale < _SMALLEST_SCALE, 1.0, scale).astype(np.float32)


def quantize_weight(weight: Floats, scale: Floats, axis: int | None, most: int = MOST) -> NDArray[np.int8]:
    """Nearest integers in [-most, most]."""
    if axis is not None:
        shape = [1] * weight.ndim
        shape[axis] = -1
        scale = scale.reshape(shape)
    levels = weight * (np.float32(1.0) / scale)
    np.rint(levels, out=levels)
    return np.clip(levels, -most, most, out=levels).astype(np.int8)


def least_scale(bias: Floats | None, input_scale: float) -> NDArray[np.float64] | float:
    """The smallest weight scales with which `bias` still fits the accumulator.

    The bias is stored as int32 in units of input_scale * weight_scale: where a channel's weights are tiny
    (pruned channels, folded BatchNormalization) and its bias is not, it would overflow.
    """
    return 0.0 if bias is None else np.abs(bias.astype(np.float64)) / (input_scale * _LARGEST_BIAS)


def quantize_bias(bias: Floats, input_scale: float, scale: Floats) -> tuple[NDArray[np.int32], Floats]:
    """The bias in units of input_scale * weight_scale, and that unit (shape of `scale`)."""
    unit = np.float32(input_scale) * scale
    levels = np.rint(bias.astype(np.float64) / unit.astype(np.float64))
    return np.clip(levels, -(2.0**31), 2.0**31 - 1).astype(np.int32), unit
