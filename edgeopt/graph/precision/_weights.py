"""Quantized copies of initializers, computed once however many candidates use them."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass
from typing import TypeVar

import numpy as np
import onnx_ir as ir
from numpy.typing import NDArray

from edgeopt.graph.precision import _arithmetic as arithmetic
from edgeopt.graph.precision._arithmetic import Floats

Stored = TypeVar("Stored", np.int8, np.uint8, np.float32)

CAPACITY_BYTES = 256 << 20


@dataclass(frozen=True, slots=True)
class Int8:
    """A weight in int8: w = scale * values.

    Attributes:
        values: Symmetric, in [-most, most]; laid out as asked for.
        scale: float32, shape () or one per slice along `axis`.
        axis: Output-channel axis of `values`; None for one scale.
        most: The largest integer that it may have.
    """

    values: NDArray[np.int8]
    scale: Floats
    axis: int | None
    most: int = arithmetic.MOST


class Weights:
    """A cache from (initializer, form) to its converted copy; the least recently used go first.

    An initializer is known by identity: clones of a model share the tensors of their original.
    """

    def __init__(self, capacity_bytes: int = CAPACITY_BYTES) -> None:
        self._capacity_bytes = capacity_bytes
        self._bytes = 0
        self._known: OrderedDict[tuple[int, str], tuple[ir.TensorProtocol, object, int]] = OrderedDict()

    def floats(self, value: ir.Value | None) -> Floats | None:
        """The values of a float32 constant, or None for anything else or for values that are not finite."""
        tensor = constant(value)
        if tensor is None or tensor.dtype != ir.DataType.FLOAT:
            return None
        array: Floats = tensor.numpy()
        finite = self._recall(tensor, "finite")
        if finite is None:
            finite = self._keep(tensor, "finite", bool(np.isfinite(array).all()), 0)
        return array if finite else None

    def int8(
        self,
        value: ir.Value,
        axis: int | None,
        *,
        perm: tuple[int, ...] | None = None,
        least: NDArray[np.float64] | float = 0.0,
        most: int = arithmetic.MOST,
    ) -> Int8:
        """A finite float32 constant in int8.

        Args:
            value: `floats(value)` is not None.
            axis: Output-channel axis of `value`; None for one scale per tensor.
            perm: Transposes the result.
            least: See `arithmetic.least_scale`; where it binds, the result is not shared.
            most: The largest integer.
        """
        tensor = _tensor(value)
        form = f"int8 {axis} {perm} {most}"
        known = self._recall(tensor, form)
        if isinstance(known, Int8) and bool(np.all(known.scale >= least)):
            return known
        array: Floats = tensor.numpy()
        if axis is None:
            least = float(np.max(least, initial=0.0))
        scale = arithmetic.weight_scale(array, axis, least, most)
        values = arithmetic.quantize_weight(array, scale, axis, most)
        if perm is not None:
            values = np.ascontiguousarray(values.transpose(perm))
            axis = None if axis is None else perm.index(axis)
        made = Int8(values, scale, axis, most)
        if known is None and not np.any(least > scale * 0.999):
            self._keep(tensor, form, made, values.nbytes)
        return made

    def multiplied(self, value: ir.Value, axis: int, scale: Floats) -> ir.TensorProtocol:
        """A constant times one number for each slice along `axis`; the same tensor for the same question."""
        tensor = _tensor(value)
        form = f"times {axis} {scale.tobytes().hex()}"
        known = self._recall(tensor, form)
        if isinstance(known, ir.Tensor):
            return known
        array: Floats = tensor.numpy()
        shape = [1] * array.ndim
        shape[axis] = -1
        made = ir.Tensor(array * scale.reshape(shape))
        self._keep(tensor, form, made, int(made.nbytes))
        return made

    def float16(self, value: ir.Value) -> NDArray[np.float16] | None:
        """A float32 constant in half precision; None where a value would overflow."""
        tensor = _tensor(value)
        known = self._recall(tensor, "float16")
        if known is None:
            with np.errstate(over="ignore"):
                half = tensor.numpy().astype(np.float16)
            finite = bool(np.isfinite(half).all())
            known = self._keep(tensor, "float16", half if finite else False, half.nbytes if finite else 0)
        return known if isinstance(known, np.ndarray) else None

    def made(
        self, value: ir.Value, form: str, make: Callable[[], tuple[NDArray[Stored], Floats]]
    ) -> tuple[NDArray[Stored], Floats]:
        """Numbers of a constant in a form that a scheme names, and what goes with them, made once."""
        tensor = _tensor(value)
        known = self._recall(tensor, form)
        if isinstance(known, tuple):
            return known
        integers, scale = make()
        self._keep(tensor, form, (integers, scale), integers.nbytes + scale.nbytes)
        return integers, scale

    def _recall(self, tensor: ir.TensorProtocol, form: str) -> object:
        key = (id(tensor), form)
        if key not in self._known:
            return None
        self._known.move_to_end(key)
        return self._known[key][1]

    def _keep(self, tensor: ir.TensorProtocol, form: str, made: object, size_bytes: int) -> object:
        """Remember `made`; the tensor is held with it, so that its identity is not given to another."""
        held = size_bytes + int(tensor.nbytes)
        self._known[id(tensor), form] = (tensor, made, held)
        self._bytes += held
        while self._bytes > self._capacity_bytes and len(self._known) > 1:
            self._bytes -= self._known.popitem(last=False)[1][2]
        return made


def operand(node: ir.Node, index: int) -> ir.Value:
    """An input that the operator requires.

    Raises:
        ValueError: It is missing: the node is malformed.
    """
    value = node.inputs[index] if index < len(node.inputs) else None
    if value is None:
        raise ValueError(f"{node.op_type} {node.name!r} lacks input {index}")
    return value


def constant(value: ir.Value | None) -> ir.TensorProtocol | None:
    """The tensor of a constant: an initializer (`graph.model.load` makes sure that callers cannot override
    it) or a Constant node.
    """
    if value is None or value.const_value is not None:
        return None if value is None else value.const_value
    return ir.convenience.get_const_tensor(value)


def _tensor(value: ir.Value) -> ir.TensorProtocol:
    tensor = constant(value)
    if tensor is None:
        raise ValueError(f"{value.name!r} is not a constant")
    return tensor
