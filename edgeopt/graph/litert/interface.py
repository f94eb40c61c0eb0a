"""How the inputs and outputs of a LiteRT file relate to those of the ONNX model that it was made from."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

from edgeopt.core.errors import CandidateFailed
from edgeopt.core.tensor import TensorSpec

Feeds = Mapping[str, NDArray[np.generic]]


@dataclass(frozen=True, slots=True)
class Port:
    """An input or output.

    Attributes:
        name: The same in both.
        position: Its place among the file's inputs or outputs.
        axes: The file's tensor is the model's, transposed by these; None where the layout is the same.
        is_scalar: The model has a scalar, for which LiteRT has a tensor of one element.
        dtype: In the file.
        model_dtype: In the model.
    """

    name: str
    position: int
    axes: tuple[int, ...] | None
    is_scalar: bool
    dtype: str
    model_dtype: str

    @property
    def changes(self) -> tuple[str, ...]:
        """How it differs from the model's, in words."""
        found = {
            f"channels last (axes {', '.join(map(str, self.axes or ()))})": self.axes is not None,
            "a tensor of one element, was a scalar": self.is_scalar,
            f"{self.dtype}, was {self.model_dtype}": self.dtype != self.model_dtype,
        }
        return tuple(change for change, holds in found.items() if holds)


@dataclass(frozen=True, slots=True)
class Interface:
    """Inputs and outputs in the order of the ONNX model."""

    inputs: tuple[Port, ...]
    outputs: tuple[Port, ...]

    @classmethod
    def between(
        cls,
        model: tuple[Sequence[TensorSpec], Sequence[TensorSpec]],
        file: tuple[Sequence[TensorSpec], Sequence[TensorSpec]],
    ) -> Self:
        """Match (inputs, outputs) of a frozen model with those of the file, by name.

        Raises:
            CandidateFailed: One is missing, or has a shape that no change of layout explains.
        """
        return cls(_ports("input", model[0], file[0]), _ports("output", model[1], file[1]))

    @property
    def changes(self) -> tuple[str, ...]:
        """What a program that ran the model must do otherwise; empty where nothing."""
        ports = [("input", port) for port in self.inputs] + [("output", port) for port in self.outputs]
        return tuple(f"{side} {port.name} is {change}" for side, port in ports for change in port.changes)

    def feeds(self, feeds: Feeds) -> dict[str, NDArray[np.generic]]:
        """The file's inputs, given the model's."""
        return {port.name: _to_file(port, feeds[port.name]) for port in self.inputs}

    def answers(self, outputs: Sequence[NDArray[np.generic]]) -> list[NDArray[np.generic]]:
        """The model's outputs, given the file's in its order."""
        return [_to_model(port, outputs[port.position]) for port in self.outputs]

    def document(self) -> dict[str, Any]:
        """As JSON."""
        return asdict(self)

    @classmethod
    def of_document(cls, document: Mapping[str, Any]) -> Self:
        """From what `document` gave, through JSON."""
        sides = (
            tuple(
                Port(**{**port, "axes": None if port["axes"] is None else tuple(port["axes"])})
                for port in document[side]
            )
            for side in ("inputs", "outputs")
        )
        return cls(*sides)


def channels_last(rank: int) -> tuple[int, ...]:
    """The axes that bring (N, C, ...) to (N, ..., C)."""
    return (0, *range(2, rank), 1)


def shows_layout(spec: TensorSpec) -> bool:
    """Whether a change to channels last could be seen in a tensor's shape."""
    return (
        len(spec.shape) > 2
        and tuple(spec.shape[axis] for axis in channels_last(len(spec.shape))) != spec.shape
    )


def _ports(side: str, model: Sequence[TensorSpec], file: Sequence[TensorSpec]) -> tuple[Port, ...]:
    found = {spec.name: (position, spec) for position, spec in enumerate(file)}
    if missing := [spec.name for spec in model if spec.name not in found]:
        raise CandidateFailed(f"the LiteRT file has no {side} {missing[0]!r}")
    return tuple(_port(side, spec, *found[spec.name]) for spec in model)


def _port(side: str, spec: TensorSpec, position: int, found: TensorSpec) -> Port:
    axes, is_scalar = None, spec.shape == () and found.shape == (1,)
    if found.shape != spec.shape and not is_scalar:
        axes = channels_last(len(spec.shape))
        if not shows_layout(spec) or found.shape != tuple(spec.shape[axis] for axis in axes):
            raise CandidateFailed(f"{side} {spec} became {found} in the LiteRT file")
    return Port(spec.name, position, axes, is_scalar, found.dtype, spec.dtype)


def _to_file(port: Port, value: NDArray[np.generic]) -> NDArray[np.generic]:
    moved = value if port.axes is None else value.transpose(port.axes)
    shape = (1,) if port.is_scalar else moved.shape  # a contiguous copy of a scalar is no scalar
    return np.ascontiguousarray(moved, np.dtype(port.dtype)).reshape(shape)


def _to_model(port: Port, value: NDArray[np.generic]) -> NDArray[np.generic]:
    moved = value if port.axes is None else value.transpose(np.argsort(port.axes))
    return np.asarray(moved, np.dtype(port.model_dtype)).reshape(() if port.is_scalar else moved.shape)
