"""How figures are written for people: with unit, interval and provenance, and unknown as a dash."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

UNKNOWN = "–"


def ms(value: float | None) -> str:
    """A time, three significant digits."""
    return UNKNOWN if value is None else f"{_digits(value)} ms"


def size(value: float | None) -> str:
    """Bytes in kB or MB (powers of ten)."""
    if value is None:
        return UNKNOWN
    if value < 1000:
        return f"{value:.0f} B"
    return f"{_digits(value / 1e3)} kB" if value < 1e6 else f"{_digits(value / 1e6)} MB"


def factor(value: float | None) -> str:
    """How many times faster: `1.42×`."""
    return UNKNOWN if value is None else f"{value:.2f}×"


def percent(value: float | None, digits: int = 1) -> str:
    """A signed relative change."""
    return UNKNOWN if value is None else f"{value:+.{digits}%}".replace("-", "−")


def latency(t: Mapping[str, Any]) -> str:
    """The median of a `T` document with what is known of its error, and its provenance unless measured."""
    figures = t.get("latency_ms") or {}
    p50, interval = figures.get("p50"), figures.get("ci95")
    if p50 is None:
        return UNKNOWN
    if t.get("provenance") == "measured":
        return f"{ms(p50)}{_interval(p50, interval)}"
    reach = (interval[1] - interval[0]) / 2 / p50 if interval and p50 else None
    error = f" ±{100 * reach:.0f} %" if reach is not None else ""
    return f"{ms(p50)}{error} {t.get('provenance') or ''}".rstrip()


def provenance(t: Mapping[str, Any]) -> str:
    """Of a `T` document's time, and what of it nothing has confirmed."""
    doubt = str(t.get("latency_source") or "").partition("; ")[2]
    return f"{t.get('provenance') or UNKNOWN}" + (f" ({doubt})" if doubt else "")


def drop(t: Mapping[str, Any], original_score: float | None) -> str:
    """An accuracy drop, absolute and in brackets relative to the original's score."""
    value = t.get("drop")
    if value is None:
        return UNKNOWN
    relative = f" ({value / original_score:+.2%} rel.)" if original_score else ""
    return f"{value:+.4f}{relative}".replace("-", "−")


def speedup(ratio: float | None) -> float | None:
    """The factor faster of a latency ratio new / old."""
    return 1 / ratio if ratio else None


def _interval(p50: float, interval: Any) -> str:
    if not interval or not p50:
        return ""
    return f" [{_digits(interval[0])}, {_digits(interval[1])}]"


def _digits(value: float) -> str:
    """Three significant digits, without an exponent."""
    if value == 0:
        return "0"
    for limit, digits in ((100, 0), (10, 1), (1, 2), (0.1, 3)):
        if abs(value) >= limit:
            return f"{value:.{digits}f}"
    return f"{value:.3g}"
