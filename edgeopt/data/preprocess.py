"""`[data.preprocess]`: how an image or sound file becomes the model's input."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, fields
from typing import Any, Literal

from edgeopt.core.errors import ConfigError


@dataclass(frozen=True, slots=True)
class LogMel:
    """A log-mel spectrogram: number of mel bands, window and hop."""

    bands: int
    window_ms: float
    hop_ms: float


@dataclass(frozen=True, slots=True)
class Preprocess:
    """The steps, in their order; what is not given is not done.

    Images: decode -> `resize` -> `crop` -> `* scale` -> `- mean` -> `/ std` -> `layout` -> the input's type.
    Sounds: decode to [-1, 1] -> `mono` -> `sample_rate` -> pad or cut -> `log_mel` -> scale, mean, std.

    Attributes:
        color: None takes what the input's channels say.
        resize: (height, width), bilinear.
        crop: (height, width), from the centre.
        mean: One value, or one per channel; of values already scaled. So is `std`.
        layout: None takes what the input's shape says.
        sample_rate: In Hz; None keeps the files' own, which must agree.
        mono: Mix channels down; False keeps (channels, samples).
        arrays: Scale, mean and std also act on uint8 arrays (`.npz`, `module:function`) whose input takes
            floats: they hold pixels, in the layout of the input.
    """

    color: Literal["gray", "rgb"] | None = None
    resize: tuple[int, int] | None = None
    crop: tuple[int, int] | None = None
    scale: float = 1.0
    mean: tuple[float, ...] = (0.0,)
    std: tuple[float, ...] = (1.0,)
    layout: Literal["NCHW", "NHWC"] | None = None
    sample_rate: int | None = None
    log_mel: LogMel | None = None
    mono: bool = True
    arrays: bool = False

    @property
    def is_scaled(self) -> bool:
        """True if scale, mean or std change the values: integers become floats."""
        return (self.scale, set(self.mean), set(self.std)) != (1.0, {0.0}, {1.0})

    @classmethod
    def parse(cls, table: Mapping[str, object]) -> Preprocess:
        """Read the table of the project file.

        Raises:
            ConfigError: An unknown key, or a value of the wrong kind.
        """
        known = [field.name for field in fields(cls)]
        for key in table:
            if key not in known:
                raise ConfigError(f"[data.preprocess] has no key {key!r}", hint=f"known: {', '.join(known)}")
        return cls(**{key: _READERS[key](f"[data.preprocess] {key}", value) for key, value in table.items()})


def _one_of(*words: str) -> Any:
    def read(key: str, value: object) -> object:
        if value not in words:
            raise ConfigError(f"{key} is {' or '.join(words)}, not {value!r}")
        return value

    return read


def _size(key: str, value: object) -> tuple[int, int]:
    if not isinstance(value, list | tuple) or len(value) != 2:
        raise ConfigError(f"{key} is [height, width], not {value!r}")
    return _count(key, value[0]), _count(key, value[1])


def _count(key: str, value: object) -> int:
    if not isinstance(value, int) or isinstance(value, bool) or value < 1:
        raise ConfigError(f"{key}: {value!r} is not a whole number above 0")
    return value


def _number(key: str, value: object) -> float:
    if not isinstance(value, int | float) or isinstance(value, bool) or not math.isfinite(value):
        raise ConfigError(f"{key}: {value!r} is not a number")
    return float(value)


def _positive(key: str, value: object) -> float:
    if (number := _number(key, value)) <= 0:
        raise ConfigError(f"{key}: {value!r} is not above 0")
    return number


def _numbers(key: str, value: object) -> tuple[float, ...]:
    values = value if isinstance(value, list | tuple) else [value]
    if not values:
        raise ConfigError(f"{key} is empty")
    return tuple(_number(key, item) for item in values)


def _divisors(key: str, value: object) -> tuple[float, ...]:
    if 0.0 in (numbers := _numbers(key, value)):
        raise ConfigError(f"{key}: nothing can be divided by 0")
    return numbers


def _flag(key: str, value: object) -> bool:
    if not isinstance(value, bool):
        raise ConfigError(f"{key} is true or false, not {value!r}")
    return value


def _log_mel(key: str, value: object) -> LogMel:
    if not isinstance(value, Mapping) or set(value) != {"bands", "window_ms", "hop_ms"}:
        raise ConfigError(f"{key} is {{ bands = 40, window_ms = 25, hop_ms = 10 }}, not {value!r}")
    return LogMel(
        _count(f"{key}.bands", value["bands"]),
        _positive(f"{key}.window_ms", value["window_ms"]),
        _positive(f"{key}.hop_ms", value["hop_ms"]),
    )


_READERS: dict[str, Any] = {
    "color": _one_of("gray", "rgb"),
    "resize": _size,
    "crop": _size,
    "scale": _number,
    "mean": _numbers,
    "std": _divisors,
    "layout": _one_of("NCHW", "NHWC"),
    "sample_rate": _count,
    "log_mel": _log_mel,
    "mono": _flag,
    "arrays": _flag,
}
