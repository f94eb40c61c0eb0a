"""Whether measurements got worse than earlier ones: `--against FILE --fail-if "p50>+3%"`.

A figure is `worse` if it grew by more than is allowed and the 95 % interval of its growth excludes none; `no
worse` if the whole interval lies within what is allowed; else `undecided`: what was measured cannot tell.
"""

from __future__ import annotations

import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from statistics import NormalDist
from typing import Any, Literal

from edgeopt.boards.intervals import t_quantile
from edgeopt.core.errors import CandidateUnsteady, ConfigError
from edgeopt.report.ratio import Z_95
from edgeopt.report.spread import LEAST_PROCESSES

Verdict = Literal["worse", "no worse", "undecided"]
Document = Mapping[str, Any]

FIGURES: Mapping[str, tuple[str, ...]] = {
    "p50": ("latency_ms", "p50"),
    "p90": ("latency_ms", "p90"),
    "p95": ("latency_ms", "p95"),
    "p99": ("latency_ms", "p99"),
    "cold-start": ("cold_start_ms",),
    "memory": ("peak_rss_bytes",),
    "size": ("size_bytes",),
    "energy": ("energy_mj",),
    "power": ("power_w",),
}
"""Figures that can be judged, and where they stand in a `T` document."""

ALIASES = {"latency": "p50", "cold_start": "cold-start", "peak_rss": "memory", "peak-rss": "memory"}
COUNTED = ("size", "memory")
"""Figures that a board which is not hardware counts: its model's error is none of theirs."""

REPRODUCED = 1.001
"""A virtual board says the same of the same file every time, to 0.1 %."""


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
        figure = ALIASES.get(match[1], match[1]) if match else ""
        if match is None or figure not in FIGURES:
            raise ConfigError(
                f"--fail-if {text!r} is not a condition",
                hint=f'write "p50>+3%"; figures: {", ".join(FIGURES)}',
            )
        return cls(figure, float(match[2]) / 100)


@dataclass(frozen=True, slots=True)
class Check:
    """One condition on one model.

    Attributes:
        growth: now / before - 1; None where a figure is not known.
        ci95: Of the growth, widened for the number of checks; None where it is not known.
        allowed: What the condition allows it to grow.
        reason: Why it is undecided, or why there is no growth to tell.
    """

    name: str
    figure: str
    before: float | None
    now: float | None
    growth: float | None
    ci95: tuple[float, float] | None
    allowed: float
    verdict: Verdict
    reason: str | None = None

    def document(self) -> dict[str, Any]:
        fields = asdict(self)
        return fields | {"ci95": list(self.ci95) if self.ci95 else None}


def value(row: Document, figure: str) -> float | None:
    """A figure of a `T` document.

    Raises:
        TypeError: It is not a number.
    """
    found: Any = row
    for key in FIGURES[figure]:
        found = found.get(key) if found is not None else None
    if isinstance(found, str):
        raise TypeError(f"{figure} is text")
    return None if found is None else float(found)


def judge(now: Document, before: Document, conditions: Sequence[Condition]) -> list[Check]:
    """Every condition on every model of `now`, matched by name.

    Args:
        now: An answer of `measure`, all of whose models `before` has, too.
        before: The earlier one.
    """
    earlier = {row["name"]: row for row in before["measurements"]}
    rows = now["measurements"]
    tests = max(1, len(rows) * len(conditions))
    modelled = now["provenance"] != "measured"
    error = max(now.get("pairwise_error") or 0.0, before.get("pairwise_error") or 0.0) if modelled else None
    return [
        _check(row, earlier[row["name"]], condition, tests, error) for row in rows for condition in conditions
    ]


def overall(checks: Sequence[Check]) -> Verdict:
    """The worst of all: `worse` before `undecided` before `no worse`."""
    verdicts = {check.verdict for check in checks}
    return next((verdict for verdict in ("worse", "undecided") if verdict in verdicts), "no worse")


def _check(row: Document, old: Document, condition: Condition, tests: int, error: float | None) -> Check:
    figure, allowed = condition.figure, condition.growth
    now, before = value(row, figure), value(old, figure)

    def said(verdict: Verdict, reason: str | None = None, ratio: float | None = None,
             interval: tuple[float, float] | None = None) -> Check:  # fmt: skip
        growth = None if ratio is None else ratio - 1
        ends = None if interval is None else (interval[0] - 1, interval[1] - 1)
        return Check(row["name"], figure, before, now, growth, ends, allowed, verdict, reason)

    if row.get("state") == "FAILED" and figure != "size":
        if row.get("failure") == CandidateUnsteady.kind:
            return said("undecided", str(row.get("reason")))
        return said("worse", f"it ran before, and does not any more: {row.get('reason')}")
    if now is None or not before:
        return said("undecided", f"{figure} was not measured {'now' if now is None else 'before'}")
    if now <= 0:
        return said("undecided", f"{figure} is {now:g}: nothing to relate to")
    ratio = now / before
    interval = (
        _measured(row, old, figure, ratio, tests)
        if error is None
        else _modelled(row, old, figure, ratio, error, tests)
    )
    if interval is None:
        which = "before" if ends(old, figure, before) is None else "now"
        return said("undecided", f"no interval of {figure} is known of what was measured {which}", ratio)
    if ratio > 1 + allowed and interval[0] > 1:
        return said("worse", None, ratio, interval)
    # Rounding alone must not tell a growth that is exactly what is allowed from one that is.
    if interval[1] <= (1 + allowed) * (1 + 1e-9):
        return said("no worse", None, ratio, interval)
    source = "the noise" if error is None else "the model's error"
    return said("undecided", f"{source} is too wide to tell", ratio, interval)


def _modelled(
    row: Document, old: Document, figure: str, ratio: float, error: float, tests: int
) -> tuple[float, float]:
    """Of a figure that a model said: the error between two variants, and of one and the same file none."""
    same = all(row.get(key) == old.get(key) for key in ("sha256", "runtime", "session_options"))
    if figure in COUNTED:
        return ratio, ratio
    reach = REPRODUCED if same and row.get("sha256") else (1 + error) ** (Z_95 * _widened(tests))
    return (ratio, ratio) if same and ratio == 1 else (ratio / reach, ratio * reach)


def _measured(
    row: Document, old: Document, figure: str, ratio: float, tests: int
) -> tuple[float, float] | None:
    """The two intervals in quadrature, in log."""
    mine, theirs = ends(row, figure, value(row, figure)), ends(old, figure, value(old, figure))
    if mine is None or theirs is None:
        return None
    wide, old_wide = (_widened(tests, _degrees(one.get("processes"))) for one in (row, old))
    (down, up), (old_down, old_up) = mine, theirs
    return (
        ratio * math.exp(-math.hypot(wide * down, old_wide * old_up)),
        ratio * math.exp(math.hypot(wide * up, old_wide * old_down)),
    )


def ends(row: Document, figure: str, at: float | None) -> tuple[float, float] | None:
    """How far, in log, a figure's interval reaches down and up; None where it has none."""
    if figure == "size":
        return 0.0, 0.0  # a file has the size that it has
    known = interval_of(row, figure)
    if not known or at is None or min(known) <= 0:
        return None
    return max(0.0, math.log(at / known[0])), max(0.0, math.log(known[1] / at))


def interval_of(row: Document, figure: str) -> Any:
    """A figure's 95 % interval, [low, high], as the document has it; None where it has none."""
    known = (row.get("intervals") or {}).get(figure)
    if known is None and figure == "p50":
        known = (row.get("latency_ms") or {}).get("ci95")
    return known


def _degrees(processes: int | None) -> int | None:
    """Degrees of freedom of an interval of so many processes, the fewest that it may have where that is not
    known; None for one that is not theirs, since they were too few."""
    known = LEAST_PROCESSES if processes is None else processes
    return known - 1 if known >= LEAST_PROCESSES else None


def _widened(tests: int, degrees: int | None = None) -> float:
    """Bonferroni's correction, as a factor of a 95 % interval's half-width.

    Args:
        degrees: Of freedom, of Student's t: of few processes the tails are heavy, and so must the factor be.
            None for a normal distribution.
    """
    if degrees is not None:
        return t_quantile(degrees, tests) / t_quantile(degrees)
    return NormalDist().inv_cdf(1 - 0.025 / tests) / NormalDist().inv_cdf(0.975)
