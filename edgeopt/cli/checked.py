"""Values of flags and of the project file, checked: the file must not say what a flag would refuse."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from edgeopt.cli.flags import MAX_SEED
from edgeopt.core.errors import ConfigError
from edgeopt.options import is_fixed_value, parse_duration_s, parse_size_bytes


def choice(flag: str, value: Any, choices: Sequence[str]) -> Any:
    """One of the choices, or None.

    Raises:
        ConfigError: Anything else.
    """
    if value is not None and value not in choices:
        raise ConfigError(f"{flag} {value!r} is unknown", hint=f"one of {', '.join(choices)}")
    return value


def at_least(flag: str, value: Any, least: int) -> Any:
    """A whole number, or None.

    Raises:
        ConfigError: It is below `least`.
    """
    if value is not None and value < least:
        raise ConfigError(f"{flag} {value} must be at least {least}")
    return value


def seed(value: int) -> int:
    """A seed that all random generators take.

    Raises:
        ConfigError: It is not.
    """
    if not 0 <= value <= MAX_SEED:
        raise ConfigError(f"--seed {value} must be between 0 and {MAX_SEED}")
    return value


def positive(flag: str, value: Any) -> float | None:
    """A finite number above 0, or None.

    Raises:
        ConfigError: Anything else.
    """
    if value is not None and not 0 < float(value) < float("inf"):
        raise ConfigError(f"{flag} {value} must be above 0")
    return None if value is None else float(value)


def wait_s(value: str | None) -> float | None:
    """Seconds of a `--wait`: `10m`, or a number of seconds; None where nobody said.

    Raises:
        ConfigError: Neither.
    """
    if value is None:
        return None
    return parse_duration_s(f"{value}s" if value.strip().isdecimal() else value, "--wait")


def share(flag: str, value: Any) -> float | None:
    """0.3 of `30%` or `0.3`, or None.

    Raises:
        ConfigError: Neither, or not between 0 and 1.
    """
    if value is None:
        return None
    text = str(value).strip()
    try:
        found = float(text.removesuffix("%")) / (100 if text.endswith("%") else 1)
    except ValueError:
        found = -1.0
    if not 0 <= found <= 1:
        raise ConfigError(f"{flag} {value} is not a share", hint="write 30% or 0.3")
    return found


def size_bytes(flag: str, value: Any) -> float | None:
    """Bytes, or None.

    Raises:
        ConfigError: No size.
    """
    return None if value is None else parse_size_bytes(str(value), flag)


def fixed(name: str, value: Any) -> str:
    """The value of a fixed input, as `--fixed` would say it.

    Raises:
        ConfigError: Neither `zeros` nor numbers.
    """
    text = ",".join(map(str, value)) if isinstance(value, list) else str(value)
    if not is_fixed_value(text):
        raise ConfigError(f"fixed value {text!r} of {name}: neither zeros nor a number")
    return text


def shape(name: str, sizes: Any) -> tuple[int, ...]:
    """The shape of an input.

    Raises:
        ConfigError: Not a list of sizes above 0.
    """
    if not isinstance(sizes, (list, tuple)) or not all(type(size) is int and size > 0 for size in sizes):
        raise ConfigError(
            f"shape {sizes!r} of {name}: not a list of sizes", hint="write x = [1, 3, 224, 224]"
        )
    return tuple(sizes)


def state(pairs: Mapping[str, Any]) -> Mapping[str, str]:
    """Input by the output that feeds it.

    Raises:
        ConfigError: An input is not named by a text.
    """
    for source, target in pairs.items():
        if not isinstance(target, str):
            raise ConfigError(
                f"state {source} = {target!r}: not the name of an input", hint='write h_out = "h_in"'
            )
    return pairs
