"""Makes one value fit one model input: its type when nothing is lost, its shape exactly, finite."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from edgeopt.core.errors import DataError
from edgeopt.core.tensor import TensorSpec

Array = NDArray[Any]

# A wider kind holds a narrower one; never the other way round.
_RANK = {"b": 0, "u": 1, "i": 1, "f": 2}


def element_type(spec: TensorSpec) -> np.dtype[Any]:
    """numpy's type of an input's elements.

    Raises:
        DataError: Not a number: strings, complex numbers and types that numpy does not know.
    """
    try:
        dtype = np.dtype(spec.dtype)
    except TypeError:
        dtype = None
    if dtype is None or dtype.kind not in _RANK:
        raise DataError(f"input {spec.name!r} is of type {spec.dtype}: data of that type cannot be read")
    return dtype


def castable(source: np.dtype[Any], target: np.dtype[Any]) -> bool:
    """True if the kind of `source` goes into `target`: whether each value does is up to `fit`."""
    return source.kind in _RANK and _RANK[source.kind] <= _RANK[target.kind]


def shape_fits(spec: TensorSpec, shape: tuple[int, ...]) -> bool:
    """True if `shape` is the input's, open sizes taking any."""
    return len(shape) == len(spec.shape) and all(
        want in (None, have) for want, have in zip(spec.shape, shape, strict=True)
    )


def fit(spec: TensorSpec, value: Array, where: str) -> Array:
    """`value` as the model takes it: C order, the input's element type, its shape checked.

    Args:
        where: Names the value in an error (`sample 3 of faces.npz`).

    Raises:
        DataError: Another shape, a type or value that the input cannot hold, NaN or infinity.
    """
    target = element_type(spec)
    if not castable(value.dtype, target):
        raise DataError(f"{where}: input {spec.name!r} takes {target}, the data is {value.dtype}")
    if not shape_fits(spec, value.shape):
        raise DataError(f"{where} has shape {list(value.shape)}, the model takes {spec}")
    cast = np.asarray(_converted(value, target), order="C")
    if value.dtype.kind == "f" and not np.isfinite(value).all():
        raise DataError(f"{where}: input {spec.name!r} contains NaN or infinity")
    if not _held(value, cast):
        raise DataError(f"{where}: input {spec.name!r} takes {target}, which cannot hold the data's values")
    return cast


def _converted(value: Array, target: np.dtype[Any]) -> Array:
    with np.errstate(over="ignore"):  # an overflow is found, and named, by `_held`
        return value.astype(target, copy=False)


def _held(value: Array, cast: Array) -> bool:
    if np.can_cast(value.dtype, cast.dtype, "safe") or not value.size:
        return True
    if cast.dtype.kind in "ui":
        limits = np.iinfo(cast.dtype)
        return int(value.min()) >= limits.min and int(value.max()) <= limits.max
    if value.dtype.kind == "f":
        return bool(np.isfinite(cast).all())
    # An integer beyond the mantissa would be rounded to another number: another token, another class.
    mantissa = 2 ** (np.finfo(cast.dtype).nmant + 1)
    small = -mantissa <= int(value.min()) and int(value.max()) <= mantissa
    return small or (
        bool(np.isfinite(cast).all()) and bool((cast.astype(object) == value.astype(object)).all())
    )
