"""A device profile: what is known of a kind of board, each fact with its source and confidence."""

from __future__ import annotations

import tomllib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from edgeopt.core.errors import ConfigError

Confidence = Literal["high", "medium", "low"]


@dataclass(frozen=True, slots=True)
class Fact:
    """One fact of a profile: `name = { value = 1.8, unit = "GHz", source = "...", confidence = "high" }`.

    Attributes:
        is_measured: On the very unit that it is said of, by edgeopt; never of a profile's own.
    """

    value: Any
    unit: str
    source: str
    confidence: Confidence
    is_measured: bool = False


@dataclass(frozen=True, slots=True)
class DeviceProfile:
    """Facts by section and name: `profile.get("cpu", "clock_ghz")`.

    Sections and names are listed in `docs/adding-a-device.md`.
    """

    name: str
    title: str
    facts: Mapping[str, Mapping[str, Fact]]

    def fact(self, section: str, name: str) -> Fact | None:
        return self.facts.get(section, {}).get(name)

    def get(self, section: str, name: str) -> Any:
        """The fact's bare value; None where the profile does not know it."""
        fact = self.fact(section, name)
        return fact.value if fact else None

    @classmethod
    def read(cls, path: Path) -> DeviceProfile:
        """Parse a profile.

        Raises:
            ConfigError: Not TOML, or a fact lacks value, unit, source or confidence.
        """
        try:
            raw = tomllib.loads(path.read_text(encoding="utf-8"))
        except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
            raise ConfigError(f"cannot read the device profile {path}: {error}") from error
        title = raw.pop("title", None)
        if not isinstance(title, str):
            raise ConfigError(f"{path}: no title")
        return cls(path.stem, title, facts_of(path, raw))


def facts_of(path: Path, raw: Mapping[str, Any]) -> dict[str, dict[str, Fact]]:
    """The facts of a file by section and name.

    Raises:
        ConfigError: A fact lacks value, unit, source or confidence.
    """
    for section, body in raw.items():
        if not isinstance(body, dict):
            raise ConfigError(f"{path}: {section} is not a section")
    return {
        section: {n: _fact(path, section, n, f) for n, f in body.items()} for section, body in raw.items()
    }


def _fact(path: Path, section: str, name: str, raw: object) -> Fact:
    if not isinstance(raw, dict) or set(raw) != {"value", "unit", "source", "confidence"}:
        raise ConfigError(f"{path}: {section}.{name} needs exactly value, unit, source and confidence")
    if raw["confidence"] not in ("high", "medium", "low"):
        raise ConfigError(f"{path}: {section}.{name}: confidence is high, medium or low")
    return Fact(raw["value"], str(raw["unit"]), str(raw["source"]), raw["confidence"])
