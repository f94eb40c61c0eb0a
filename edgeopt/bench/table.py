"""The scores of samplers as rows of text, for the terminal and the page alike."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from edgeopt.report.figures import UNKNOWN

HEADINGS = (
    "sampler", "% best at 10", "% best at 20", "% best at 40", "% best", "to 95 %", "95 % of gain", "reached",
    "hypervolume %", "refused", "changed", "s / proposal",
)  # fmt: skip
SHORT = (0, 4, 5, 6, 8, 10)
"""The columns that fit a terminal of 80."""
SUM_HEADINGS = ("sampler", "of the best", "mean rank", "of random's measurements", "oracles")


def rows(samplers: Mapping[str, Mapping[str, Any]]) -> list[list[str]]:
    """One per sampler, the best first; `HEADINGS` names the cells."""
    order = sorted(samplers, key=lambda name: _order(samplers[name]))
    return [_row(name, samplers[name]) for name in order]


def sum_rows(in_sum: Mapping[str, Any]) -> list[list[str]]:
    """One per sampler, the best mean rank first; `SUM_HEADINGS` names the cells."""
    table = in_sum["samplers"]
    order = sorted(table, key=lambda name: (table[name]["rank"] or 0.0, name))
    return [
        [
            name,
            _share(table[name]["speed"]),
            _number(table[name]["rank"], 1),
            _number(table[name]["measurements_of_random"], 2),
            str(table[name]["oracles"]),
        ]
        for name in order
    ]


def _order(score: Mapping[str, Any]) -> tuple[float, float]:
    reach = score["reach_95_of_gain"]["median"]
    return -(score["speed"]["end"]["median"] or 0.0), float("inf") if reach is None else reach


def _row(name: str, score: Mapping[str, Any]) -> list[str]:
    speeds = [_interval(score["speed"].get(at), percent=True) for at in ("10", "20", "40", "end")]
    return [
        name,
        *speeds,
        _interval(score["reach_95_of_best"]),
        _interval(score["reach_95_of_gain"]),
        f"{score['share_reached']:.0%}",
        _interval(score["hypervolume"], percent=True),
        _number(score["refused"], 1),
        _number(score["changed"], 1),
        _number(score["thinking_s"], 2),
    ]


def _interval(said: Mapping[str, Any] | None, percent: bool = False) -> str:
    """Median and interval; `>` where it was never reached."""
    if said is None:
        return UNKNOWN

    def one(value: float | None) -> str:
        if value is None:
            return ">"
        return f"{100 * value:.1f}" if percent else f"{value:.0f}"

    low, high = (one(end) for end in said["ci95"])
    return f"{one(said['median'])} [{low}, {high}]"


def _share(value: float | None) -> str:
    return UNKNOWN if value is None else f"{value:.1%}"


def _number(value: float | None, digits: int) -> str:
    return UNKNOWN if value is None else f"{value:.{digits}f}"
