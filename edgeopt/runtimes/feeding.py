"""Feeds an artifact whose inputs are not the original's: the one place where feeds are converted.

Everything else in edgeopt (data, gates, boards' callers) speaks of the original's inputs. Who runs an
artifact, on this machine or on a board, asks `fed` for what its file takes.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from edgeopt.core.errors import DataError
from edgeopt.core.interface import InputChange, Interface, Levels

Array = NDArray[Any]

SLACK = 0.01
"""How far a value may be from a byte's, in steps between bytes, beside the rounding of its own type."""


def fed(interface: Interface, feeds: Mapping[str, Array]) -> Mapping[str, Array]:
    """The original's inputs as an artifact takes them.

    Args:
        interface: Of the artifact; empty gives `feeds` themselves.
        feeds: One inference's inputs of the original, by name.

    Raises:
        DataError: A value is none of the 256 that bytes stand for.
    """
    if not interface:
        return feeds
    changes = {change.name: change for change in interface}
    return {
        name: _converted(value, changes[name]) if name in changes else value for name, value in feeds.items()
    }


def values_of(levels: Levels, pixels: NDArray[np.uint8], dtype: str) -> Array:
    """What bytes stand for, in the original's layout and type."""
    scale, shift = _along(levels, pixels.ndim)
    return np.asarray(pixels * scale + shift).astype(dtype)


def bytes_of(levels: Levels, values: Array, name: str) -> NDArray[np.uint8]:
    """The inverse of `values_of`.

    Raises:
        DataError: A value is none of the 256.
    """
    scale, shift = _along(levels, values.ndim)
    steps = (values.astype(np.float64) - shift) / scale
    nearest = np.rint(steps)
    epsilon = float(np.finfo(values.dtype).eps) if values.dtype.kind == "f" else 0.0
    largest = float(np.abs(values).max(initial=0.0)) + float(np.abs(shift).max())
    slack = SLACK + 4 * epsilon * largest / float(np.abs(scale).min())
    fits = (np.abs(steps - nearest) <= slack) & (nearest >= 0) & (nearest <= 255)
    if not fits.all():
        wrong = float(values.reshape(-1)[int(np.argmin(fits.reshape(-1)))])
        raise DataError(
            f"input {name!r}: the value {wrong:g} is not one of the 256 that a byte stands for",
            hint="leave out --allow-interface uint8-input, or give the data as bytes",
        )
    return nearest.astype(np.uint8)


def _converted(value: Array, change: InputChange) -> Array:
    if change.levels is not None:
        value = bytes_of(change.levels, value, change.name)
    if change.order is not None:
        value = np.ascontiguousarray(value.transpose(change.order))
    return value


def _along(levels: Levels, rank: int) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Scale and shift in the shape that acts along the channels."""
    shape = [1] * rank
    if levels.axis is not None:
        shape[levels.axis] = len(levels.scale)
    scale, shift = (np.asarray(values, np.float64).reshape(shape) for values in (levels.scale, levels.shift))
    return scale, shift
