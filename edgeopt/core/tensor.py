"""The name, type and shape of a model's input or output."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class TensorSpec:
    """One input or output of a model.

    Attributes:
        name: As in the model.
        dtype: numpy's name of the element type (`float32`, `int64`, `uint8`, `bool`, ...).
        shape: Sizes of the axes; None where the model leaves one open. `()` is a scalar.
    """

    name: str
    dtype: str
    shape: tuple[int | None, ...]

    @property
    def is_static(self) -> bool:
        return None not in self.shape

    def __str__(self) -> str:
        return f"{self.name} {self.dtype}[{','.join('?' if d is None else str(d) for d in self.shape)}]"
