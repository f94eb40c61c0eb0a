"""Whether measurements got worse than earlier ones: `--against FILE --fail-if "p50>+3%"`."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from edgeopt.core.errors import ConfigError

FIGURES = {
    "p50": ("latency_ms", "p50"),
    "p90": ("latency_ms", "p90"),
    "p95": ("latency_ms", "p95"),
    "p99": ("latency_ms", "p99"),
    "cold-start": ("cold_start_ms",),
    "memory": ("peak_rss_bytes",),
    "size": ("size_bytes",),
    "energy": ("energy_mj",),
}


@dataclass(frozen=True, slots=True)
class Condition:
    """Fails if a figure grew by more than `growth` (0.03 is 3 %)."""

    figure: str
    growth: float

    @classmethod
    def parse(cls, text: str) -> Condition:
        """Read `p50>+3%`.

        Raises:
            ConfigError: Another form, or an unknown figure.
        """
        match = re.fullmatch(r"\s*([\w-]+)\s*>\s*\+?\s*(\d+(?:\.\d+)?)\s*%\s*", text)
        if match is None or match[1] not in FIGURES:
            raise ConfigError(
                f"--fail-if {text!r} is not a condition",
                hint=f'write "p50>+3%"; figures: {", ".join(FIGURES)}',
            )
        return cls(match[1], float(match[2]) / 100)


def read_measurements(path: Path) -> Mapping[str, Any]:
    """The answer of an earlier `edgeopt measure --json`.

    Raises:
        ConfigError: Unreadable, or something else.
    """
    try:
        document = json.loads(path.read_text(encoding="utf-8"))
        list(document["measurements"])
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise ConfigError(
            f"{path} is not the answer of edgeopt measure --json: {type(error).__name__} {error}"
        ) from error
    return dict(document)


def regressions(
    now: Mapping[str, Any], before: Mapping[str, Any], condition: Condition
) -> list[dict[str, Any]]:
    """The measurements, matched by name, whose figure grew too much.

    Raises:
        ConfigError: Another device or provenance, no name in common, or the figure is unknown: silence
            would pass for "nothing got worse".
    """
    for what in ("device", "provenance"):
        if now.get(what) != before.get(what):
            raise ConfigError(
                f"not comparable: {what} was {before.get(what)}, is {now.get(what)}",
                hint="measure both on the same kind of board",
            )
    earlier = {row["name"]: row for row in before["measurements"]}
    pairs = [(row, earlier[row["name"]]) for row in now["measurements"] if row["name"] in earlier]
    if not pairs:
        raise ConfigError(f"no model in common: before {', '.join(earlier) or 'none'}")
    found = []
    for row, old in pairs:
        new_value, old_value = _figure(row, condition.figure), _figure(old, condition.figure)
        if new_value is None or not old_value:
            raise ConfigError(f"{condition.figure} of {row['name']} is not known in both measurements")
        if new_value / old_value > 1 + condition.growth:
            found.append(
                {"name": row["name"], "figure": condition.figure, "before": old_value, "now": new_value,
                 "growth": new_value / old_value - 1, "allowed": condition.growth}
            )  # fmt: skip
    return found


def _figure(row: Mapping[str, Any], figure: str) -> float | None:
    value: Any = row
    for key in FIGURES[figure]:
        value = value.get(key) if value is not None else None
    return None if value is None else float(value)
