"""No meter: P = idle + k * CPU utilization, with the profile's fit for this kind of board.

It is latency in disguise, for it knows nothing but how busy the cores are: what they do, memory and voltage
are not in it. It serves where there is nothing better, and says so (`model`, ±25 %).

Source: the linear fits of joular/powerjoular, where the profile has one.
"""

from __future__ import annotations

from collections.abc import Callable
from itertools import pairwise
from typing import Any

from edgeopt.boards.meters import EnergySource, Example, Reading, Recording, Sample, Settings
from edgeopt.core.errors import ConfigError

SOURCE: EnergySource = "model"
ERROR_SHARE = 0.25
INTERVAL_S = 0.1
KEYS: frozenset[str] = frozenset()


def check(settings: Settings) -> None:
    """The profile must have a fit."""
    if settings.idle_w is None or settings.k_w is None:
        raise ConfigError(
            "there is no model of this device's power",
            hint="its profile lacks power.model_idle_w and power.model_k_w; use a meter",
        )


def reader(settings: dict[str, Any]) -> tuple[str, Callable[[], str]]:
    """Runs on the board: ticks of all its cores."""
    from pathlib import Path

    path = Path(settings["root"], "proc/stat")
    return "", lambda: path.read_text().split("\n", 1)[0]


def parse(recording: Recording, settings: Settings) -> list[Sample]:
    """Watts between readings, at their middle."""
    kept = [
        (reading.t_s, ticks) for reading in recording.readings if (ticks := _ticks(reading.text)) is not None
    ]
    return [
        Sample((t0 + t1) / 2, power_w(settings, (b[0] - a[0]) / (b[1] - a[1])))
        for (t0, a), (t1, b) in pairwise(kept)
        if b[1] > a[1] and b[0] >= a[0]
    ]


def power_w(settings: Settings, utilization: float) -> float:
    """Of a board whose cores are this busy, 0..1."""
    return (settings.idle_w or 0.0) + (settings.k_w or 0.0) * utilization


def _ticks(line: str) -> tuple[int, int] | None:
    """Busy ticks and all ticks, of /proc/stat's first line; waiting for a disk is not busy."""
    words = line.split()[1:9]
    if len(words) < 8 or not all(word.isdigit() for word in words):
        return None
    ticks = [int(word) for word in words]
    return sum(ticks) - ticks[3] - ticks[4], sum(ticks)


EXAMPLES = (
    Example(
        "half-busy",
        "format of /proc/stat, proc(5); a cut line and one from before a counter went back",
        Settings("model", idle_w=2.286, k_w=4.534),
        Recording(
            "",
            (
                Reading(0.0, "cpu  1000 0 200 5000 10 0 5 0 0 0"),
                Reading(1.0, "cpu  1190 0 210 5190 20 0 5 0 0 0"),
                Reading(1.5, "cpu  1190 0"),
                Reading(2.0, "cpu  1190 0 210 5590 20 0 5 0 0 0"),
                Reading(3.0, "cpu  1180 0 210 5990 20 0 5 0 0 0"),
            ),
        ),
        (Sample(0.5, 4.553), Sample(1.5, 2.286)),
        lost=3,
        files={"proc/stat": "cpu  1000 0 200 5000 10 0 5 0 0 0\ncpu0 1000 0 200 5000 10 0 5 0 0 0\n"},
    ),
)
