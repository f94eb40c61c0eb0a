"""Reads convolutions and poolings: their geometry, their weights, and constants that act per channel."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import onnx_ir
from numpy.typing import NDArray

from edgeopt.graph.constants import array_of
from edgeopt.graph.flops import sizes

Doubles = NDArray[np.float64]
FLOATS = (onnx_ir.DataType.FLOAT, onnx_ir.DataType.DOUBLE, onnx_ir.DataType.FLOAT16)


@dataclass(frozen=True, slots=True)
class Geometry:
    """How a window moves over the spatial axes of its input, one entry per axis.

    Attributes:
        kernel: Taps.
        strides: Steps between windows.
        dilations: Steps between taps.
        begins: Elements of padding before the first.
        ends: Elements of padding after the last.
        group: Of Conv and ConvTranspose; 1 for poolings.
    """

    kernel: tuple[int, ...]
    strides: tuple[int, ...]
    dilations: tuple[int, ...]
    begins: tuple[int, ...]
    ends: tuple[int, ...]
    group: int

    @classmethod
    def of(cls, node: onnx_ir.Node) -> Geometry | None:
        """The geometry of a Conv, ConvTranspose or pooling; None where it depends on what is not known.

        Source: ONNX Conv-11, MaxPool-12, AveragePool-11 (`auto_pad`).
        """
        attributes = node.attributes
        weight = sizes(node.inputs[1]) if node.op_type in ("Conv", "ConvTranspose") else None
        kernel = attributes.get_ints("kernel_shape", ()) or (weight[2:] if weight else None)
        if not kernel:
            return None
        ones = (1,) * len(kernel)
        strides = tuple(attributes.get_ints("strides", ()) or ones)
        dilations = tuple(attributes.get_ints("dilations", ()) or ones)
        auto = attributes.get_string("auto_pad", "NOTSET")
        pads = tuple(attributes.get_ints("pads", ()) or (0,) * (2 * len(kernel)))
        if auto == "VALID":
            pads = (0,) * (2 * len(kernel))
        elif auto != "NOTSET":
            read = sizes(node.inputs[0])
            if read is None or node.op_type == "ConvTranspose":
                return None
            pads = _same(read[2:], tuple(kernel), strides, dilations, at_end=auto == "SAME_UPPER")
        begins, ends = pads[: len(kernel)], pads[len(kernel) :]
        return cls(tuple(kernel), strides, dilations, begins, ends, attributes.get_int("group", 1) or 1)

    @property
    def pads(self) -> tuple[int, ...]:
        """As the attribute has them."""
        return self.begins + self.ends

    @property
    def is_padded(self) -> bool:
        """Whether some window reads padding."""
        return any(self.pads)

    @property
    def is_pointwise(self) -> bool:
        """Whether each output reads one place of the input, the same one."""
        ones = (1,) * len(self.kernel)
        return self.kernel == ones and self.strides == ones and not self.is_padded

    def attributes(self) -> dict[str, int | tuple[int, ...]]:
        """For a Conv of this geometry."""
        return {
            "kernel_shape": self.kernel,
            "strides": self.strides,
            "dilations": self.dilations,
            "pads": self.pads,
            "group": self.group,
        }


def _same(
    read: tuple[int, ...],
    kernel: tuple[int, ...],
    strides: tuple[int, ...],
    dilations: tuple[int, ...],
    *,
    at_end: bool,
) -> tuple[int, ...]:
    begins, ends = [], []
    for size, taps, stride, dilation in zip(read, kernel, strides, dilations, strict=True):
        total = max((-(-size // stride) - 1) * stride + (taps - 1) * dilation + 1 - size, 0)
        small, large = total // 2, total - total // 2
        begins.append(small if at_end else large)
        ends.append(large if at_end else small)
    return (*begins, *ends)


@dataclass(frozen=True, slots=True)
class Weights:
    """Constant weights of a Conv, ConvTranspose or Gemm, in float64.

    Attributes:
        weight: As the operator has it.
        bias: (M,); zeros where it has none.
        dtype: What they are stored in.
    """

    weight: Doubles
    bias: Doubles
    dtype: np.dtype[np.generic]

    @classmethod
    def of(cls, node: onnx_ir.Node) -> Weights | None:
        """The weights of a Conv or ConvTranspose; None if one is computed or is not of floats."""
        weight = array_of(node.inputs[1])
        given = node.inputs[2] if len(node.inputs) > 2 else None
        bias = array_of(given)
        if weight is None or weight.dtype.kind != "f" or (given is not None and bias is None):
            return None
        if bias is None:
            group = node.attributes.get_int("group", 1) or 1
            written = weight.shape[0] if node.op_type == "Conv" else weight.shape[1] * group
            bias = np.zeros(written)
        return cls(weight.astype(np.float64), bias.astype(np.float64), weight.dtype)

    def stored(self, array: Doubles) -> NDArray[np.generic] | None:
        """`array` in the stored type; None where it is not finite there."""
        with np.errstate(all="ignore"):
            stored: NDArray[np.generic] = array.astype(self.dtype)
        return stored if bool(np.isfinite(stored.astype(np.float64)).all()) else None


def per_channel(value: onnx_ir.Value | None, rank: int, channels: int) -> Doubles | None:
    """A constant that broadcasts along axis 1 of (N, C, ...) only, as (C,); None for anything else."""
    array = array_of(value)
    if array is None or array.dtype.kind != "f" or array.ndim > rank:
        return None
    if array.size == 1:
        return np.full(channels, float(array.reshape(-1)[0]))
    shape = (1,) * (rank - array.ndim) + array.shape
    if shape[1] != channels or array.size != channels:
        return None
    return array.reshape(-1).astype(np.float64)


def scale_and_shift(norm: onnx_ir.Node) -> tuple[Doubles, Doubles] | str:
    """What BatchNormalization multiplies by and then adds, (C,) each; or why it cannot be told.

    Source: ONNX BatchNormalization-15.
    """
    if norm.attributes.get_int("training_mode", 0) or not norm.attributes.get_int("spatial", 1):
        return "BatchNormalization is in training mode or not spatial"
    if any(output.uses() for output in norm.outputs[1:]):
        return "its statistics are read"
    arrays = [array_of(value) for value in norm.inputs[1:5]]
    if any(array is None for array in arrays):
        return "a statistic is not constant"
    gamma, beta, mean, variance = (np.asarray(array, np.float64) for array in arrays)
    with np.errstate(all="ignore"):
        scale = gamma / np.sqrt(variance + (norm.attributes.get_float("epsilon", 1e-5) or 0.0))
        shift = beta - mean * scale
    if not (np.isfinite(scale).all() and np.isfinite(shift).all()):
        return "its scale is not finite"
    return scale, shift
