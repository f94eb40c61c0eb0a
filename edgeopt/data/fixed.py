"""Inputs that are the same for every sample: `--fixed NAME=VALUE|zeros`."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

import numpy as np

from edgeopt.core.errors import ConfigError, DataError
from edgeopt.core.tensor import TensorSpec
from edgeopt.data.fit import Array, fit


def parse_fixed(items: Iterable[str] | Mapping[str, object]) -> dict[str, Array]:
    """Read `sr=16000`, `mask=1,1,0`, `h=zeros`, or the same as a table of the project file.

    Raises:
        ConfigError: No `=`, no name, or a value that is neither numbers nor `zeros`.
    """
    if isinstance(items, Mapping):
        return {name: _value(name, value) for name, value in items.items()}
    pairs = [item.partition("=") for item in items]
    for name, equals, _ in pairs:
        if not name or not equals:
            raise ConfigError(f"--fixed {name!r} is not NAME=VALUE", hint="for example --fixed sr=16000")
    return {name: _value(name, text) for name, _, text in pairs}


def with_state(fixed: Mapping[str, Array], state: Mapping[str, str]) -> dict[str, Array]:
    """`fixed`, and zeros for each state input (`{output: input}`) that it does not name: a stream's start."""
    return dict.fromkeys(state.values(), _ZERO) | dict(fixed)


def fixed_feed(spec: TensorSpec, value: Array) -> Array:
    """`value` broadcast to the input's shape.

    Raises:
        DataError: It does not broadcast, the type does not hold it, or the input's shape is open.
    """
    shape = spec.shape
    if not spec.is_static and value.ndim == len(shape):
        shape = tuple(have if want is None else want for want, have in zip(shape, value.shape, strict=True))
    sizes = [size for size in shape if size is not None]
    if len(sizes) != len(shape):
        dims = ",".join("1" if size is None else str(size) for size in shape)
        raise DataError(
            f"the fixed input {spec} has open sizes that nothing settles",
            hint=f"say them: --shape {spec.name}={dims}",
        )
    try:
        full = np.broadcast_to(value, sizes)
    except ValueError:
        raise DataError(
            f"--fixed {spec.name}: a value of shape {list(value.shape)} does not fit {spec}"
        ) from None
    return fit(spec, full, f"--fixed {spec.name}")


# A boolean goes into every numeric type.
_ZERO: Array = np.zeros((), dtype=np.bool_)
_WORDS: dict[str, bool] = {"zeros": False, "false": False, "true": True}


def _value(name: str, value: object) -> Array:
    raw: Any = value
    if isinstance(value, str):
        words = [_WORDS.get(word.strip().lower(), word) for word in value.split(",")]
        raw = [_number(word) if isinstance(word, str) else word for word in words]
        raw = raw[0] if len(raw) == 1 else raw
    try:
        array = np.asarray(raw)
    except ValueError:  # rows of different lengths
        array = np.asarray(None)
    if array.dtype.kind not in "biuf" or not array.size:
        raise ConfigError(
            f"--fixed {name}={value}: neither numbers nor `zeros`", hint="for example sr=16000 or mask=1,1,0"
        )
    return array


def _number(word: str) -> int | float | str:
    for kind in (int, float):
        try:
            return kind(word)
        except ValueError:
            continue
    return word
