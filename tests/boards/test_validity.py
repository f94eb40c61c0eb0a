"""Each rule of the measuring protocol: what breaks it, what does not, and the line that says so."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from edgeopt.boards import profiles
from edgeopt.boards.validity import (
    Speed,
    Thresholds,
    drift_of,
    lasting_slowdown,
    of_board,
    of_windows,
    other_cpu,
    throttled,
)

PROTOCOL = Thresholds(
    max_drift=0.03,
    max_process_cv=0.02,
    max_other_cpu=0.03,
    min_clock_ratio=0.98,
    max_temperature_c=75,
    max_swap_bytes=0,
)
COOL = Speed("adds", 1.5e9)


def state(**changes: Any) -> dict[str, Any]:
    """A board that tells next to nothing, but for `changes`."""
    return {
        "at_s": 0.0, "cores": 4, "busy_s": None, "own_s": 0.0, "swap_bytes": None, "kernel_hz": None,
        "clock_hz": None, "throttled_bits": None, "temperature_c": None,
        "spin": {"kind": "adds", "per_s": 1.5e9},
    } | changes  # fmt: skip


def spinning(per_s: float, kind: str = "adds") -> dict[str, Any]:
    return {"spin": {"kind": kind, "per_s": per_s}}


def busy(at_s: float, busy_s: float, own_s: float) -> dict[str, Any]:
    return {"at_s": at_s, "busy_s": busy_s, "own_s": own_s}


QUIET: dict[str, Any] = {
    "swap_bytes": 4096, "kernel_hz": 1_500_000_000, "clock_hz": 1_500_345_728, "throttled_bits": 0,
    "temperature_c": 60.0,
}  # fmt: skip

BROKEN = [
    ({}, {"throttled_bits": 0x50005}, "throttled: under-voltage, throttled (get_throttled says 0x50005)"),
    ({"throttled_bits": 0x8}, {}, "it is throttled: soft temperature limit (get_throttled says 0x8)"),
    ({"throttled_bits": 0x10000}, {"throttled_bits": 0x30000}, "throttled meanwhile: clock capped"),
    ({}, {"clock_hz": 600e6}, "its clock is 600 MHz where the kernel says 1500: 0.40 times, 0.98 is the"),
    ({}, spinning(600e6), "it computes at 600 MHz where the kernel says 1500: 0.40 times, 0.9 is the least"),
    ({}, spinning(1.46e9), "it computes at 0.97 times its speed when cool, 0.98 is the least"),
    (spinning(1.2e9), {}, "it computes at 0.80 times its speed when cool, 0.98 is the least"),
    ({}, {"temperature_c": 75.4}, "it is at 75.4 °C, 75 °C is the limit"),
    ({"temperature_c": 81.0}, {}, "it is at 81.0 °C, 75 °C is the limit"),
    ({}, {"swap_bytes": 4096 + (3 << 20)}, "3.0 MiB were swapped out, 0 are allowed"),
    (busy(0, 0, 0), busy(10, 12.0, 10.4), "other processes used 4.0% of its cores, 3.0% is allowed"),
]

HELD = [
    ({}, {}),
    ({"throttled_bits": 0x50000}, {"throttled_bits": 0x50000}),  # long ago
    ({}, spinning(1.48e9)),
    ({}, spinning(1.6e9)),
    ({"temperature_c": 75.0}, {"temperature_c": 75.0}),
    ({"swap_bytes": 9 << 20}, {"swap_bytes": 1 << 20}),  # it came back
    (busy(0, 0, 0), busy(10, 11.0, 10.4)),
    (busy(0, 0, 0), busy(0.3, 0.3, 0.0)),  # too short to tell
]


@pytest.mark.parametrize(("before", "after", "said"), BROKEN)
def test_a_broken_rule_is_told_with_its_figure_and_its_threshold(before, after, said: str) -> None:
    reasons = of_board([state(**QUIET | before), state(**QUIET | after)], COOL, PROTOCOL)
    assert any(said in reason for reason in reasons), reasons
    assert all("\n" not in reason for reason in reasons)


@pytest.mark.parametrize(("before", "after", "said"), BROKEN)
def test_what_is_over_again_by_the_end_counts_as_well(before, after, said: str) -> None:
    rounds = [state(**QUIET | before), state(**QUIET | after), state(**QUIET | before)]
    assert any(said in reason for reason in of_board(rounds, COOL, PROTOCOL))


@pytest.mark.parametrize(("before", "after"), HELD)
def test_rules_that_hold_say_nothing(before, after) -> None:
    assert of_board([state(**QUIET | before), state(**QUIET | after)], COOL, PROTOCOL) == []


def test_what_a_board_does_not_tell_breaks_no_rule() -> None:
    assert of_board([state(), state()], None, PROTOCOL) == []
    assert throttled([state(), state()]) is None
    assert other_cpu(state(), state()) is None


def test_a_firmware_that_was_silent_once_does_not_take_back_what_it_said() -> None:
    throttles, silent, fine = (state(throttled_bits=bits) for bits in (0x4, None, 0x0))
    assert throttled([throttles, silent]) is True
    assert throttled([fine, silent, state(throttled_bits=0x40000)]) is True
    assert throttled([fine, silent]) is None
    assert throttled([fine, fine]) is False


def test_a_rule_that_breaks_every_time_is_told_once_at_its_worst() -> None:
    rounds = [state(temperature_c=at) for at in (76.0, 79.5, 77.0)]
    assert of_board(rounds, None, PROTOCOL) == ["it is at 79.5 °C, 75 °C is the limit"]


def test_without_thresholds_only_the_firmware_is_believed() -> None:
    rounds = [state(temperature_c=99.0, throttled_bits=0), state(**spinning(1.0), throttled_bits=0x2)]
    (reason,) = of_board(rounds, COOL, Thresholds())
    assert "clock capped" in reason


def test_a_board_that_is_to_be_hot_may_be_hot_and_throttle_but_not_swap() -> None:
    hot = state(temperature_c=82.0, throttled_bits=0x4, swap_bytes=0, **spinning(1.2e9))
    swapped = hot | {"swap_bytes": 1 << 20} | busy(10, 4.0, 0.4)
    rounds = [hot | busy(0, 0, 0), swapped]
    assert of_windows([[10.0] * 20 + [20.0] * 10, [15.0] * 30], PROTOCOL.under("sustained")) == []
    other, swap = of_board(rounds, COOL, PROTOCOL.under("sustained"))
    assert "other processes" in other
    assert of_board(rounds, COOL, PROTOCOL.under("app")) == [swap]
    assert PROTOCOL.under("bench") == PROTOCOL
    assert throttled(rounds) is True


def test_a_board_of_which_the_kernel_overstates_the_clock_a_little_is_fine() -> None:
    slow = state(kernel_hz=2_400_000_000, **spinning(2.28e9))
    assert of_board([slow, slow], Speed("adds", 2.28e9), PROTOCOL) == []


@pytest.mark.parametrize(
    ("changes", "known", "expected"),
    [
        ({}, None, 1.5e9),
        ({}, 1.4e9, 1.5e9),
        ({}, 1.6e9, 1.6e9),
        ({"throttled_bits": 0x4}, None, None),
        ({"throttled_bits": 0x4}, 1.4e9, 1.4e9),
        ({"temperature_c": 76.0}, None, None),
        (spinning(600e6), None, None),  # the kernel says 1500 MHz
    ],
)
def test_speed_is_calibrated_while_nothing_holds_the_board_back(changes, known, expected) -> None:
    before = None if known is None else Speed("adds", known)
    found = Speed.calibrated(state(**QUIET | changes), PROTOCOL, before)
    assert (found.per_s if found else None) == expected


def test_another_kind_of_loop_is_another_calibration() -> None:
    found = Speed.calibrated(state(**spinning(1e5, "hashes")), PROTOCOL, COOL)
    assert found == Speed("hashes", 1e5)
    assert of_board([state(**spinning(9e4, "hashes"))], COOL, PROTOCOL) == []
    assert of_board([state(**spinning(9e4, "hashes"))], found, PROTOCOL)


@pytest.mark.parametrize(
    ("latencies", "drift"),
    [
        ([10.0] * 30, 0.0),
        ([10.0] * 20 + [20.0] * 10, 1.0),
        ([20.0] * 10 + [10.0] * 20, 1.0),  # it was slow, and recovered
        ([10.0] * 10 + [15.0] * 10 + [10.0] * 10, 0.5),  # slow only in the middle
        ([10.0] * 29 + [1000.0], 0.0),  # one hiccup is not a drift
        ([50.0] * 20 + [100.0] * 113, 1.0),  # slow but for the beginning
        ([50.0] * 120 + [100.0] * 13, 1.0),  # slow only at the end
        ([1.0] * 400 + [9.0] * 50 + [1.0] * 400, 0.0),  # a hiccup of half a second, of fast inferences
        ([10.0] * 8, None),
    ],
)
def test_drift_is_between_any_parts_of_a_window(latencies: list[float], drift: float | None) -> None:
    assert drift_of(latencies) == drift


def test_windows_that_drift_or_differ_are_told() -> None:
    assert of_windows([[10.0] * 30] * 5, PROTOCOL) == []
    (drifts,) = of_windows([[10.0] * 20 + [10.5] * 10], PROTOCOL)
    assert drifts == "its latency drifted by 5.0% within a process, 3.0% is allowed"
    (varies,) = of_windows([[10.0] * 30] * 4 + [[11.0] * 30], PROTOCOL)
    assert varies == "the medians of its processes vary by 4.4%, 2.0% is allowed"
    assert of_windows([[10.0] * 20 + [20.0] * 10, [15.0] * 30], Thresholds()) == []
    once = [[10.0] * 20 + [10.5] * 10, *[[10.0] * 30] * 4]
    assert of_windows(once, PROTOCOL) == []  # what happens once moves no median


@pytest.mark.parametrize("device", profiles.names())
def test_every_profile_gives_thresholds(device: str) -> None:
    profile = profiles.load(device)
    found = Thresholds.of(profile)
    assert found.max_drift == profile.get("measurement", "max_drift")
    assert found.tries >= 3
    if device == "local":
        assert found.max_temperature_c is None  # what it should be is not known of an unknown machine
    else:
        assert found.max_swap_bytes == 0
        assert found.min_clock_ratio == 0.98


def test_quiet_boards_are_not_refused() -> None:
    """At most 2 % false alarms on a board's own noise: 1 % per inference, 0.5 % per process, rare hiccups."""
    rng = np.random.default_rng(0)
    refused = 0
    for _ in range(500):
        levels = 10 * np.exp(rng.normal(0, 0.005, 5))
        noise = np.exp(rng.normal(0, 0.01, (5, 133))) * np.where(rng.random((5, 133)) < 0.02, 1.5, 1.0)
        refused += bool(of_windows([list(row) for row in levels[:, None] * noise], PROTOCOL))
    assert refused <= 10


@pytest.mark.parametrize("slow", range(1, 8))
def test_on_this_machine_half_the_speed_is_told_where_nobody_shared_the_core(slow: int, home: Path) -> None:
    (home / ".config" / "edgeopt" / "devices" / "local.toml").unlink()  # the tests' own, which tolerates all
    thresholds = Thresholds.of(profiles.load("local"))
    windows = [[2.0] * 200] * slow + [[1.0] * 200] * (8 - slow)  # it does not last
    assert of_windows(windows, thresholds) == []  # beside others it may be them
    (reason,) = of_windows(windows, thresholds.when_quiet())
    assert reason.startswith("the medians of its processes vary by")
    assert PROTOCOL.when_quiet() == PROTOCOL


@pytest.mark.parametrize("fast", [0.1, 0.9])
@pytest.mark.parametrize("at", [0, 7])
def test_there_no_slowdown_may_last_however_early_or_late_it_began(fast: float, at: int, home: Path) -> None:
    (home / ".config" / "edgeopt" / "devices" / "local.toml").unlink()  # the tests' own, which tolerates all
    thresholds, n = replace(Thresholds.of(profiles.load("local")), max_process_cv=None), int(100 * fast)
    quiet = replace(thresholds.when_quiet(), max_process_cv=None)
    began = [[1.0] * 100] * at + [[1.0] * n + [2.0] * (100 - n)] + [[2.0] * 100] * (7 - at)
    assert of_windows(began, thresholds) == []  # beside others it may be them
    (reason,) = of_windows(began, quiet)
    assert reason == (
        "its latency grew by 100.0% and stayed there though nobody shared its core, 25.0% is allowed"
    )
    passed_by = [[1.0] * 100] * at + [[1.0] * 40 + [2.0] * 20 + [1.0] * 40] + [[1.0] * 100] * (7 - at)
    assert of_windows(passed_by, quiet) == []


def test_nothing_lasts_in_windows_that_are_too_short_to_tell() -> None:
    assert lasting_slowdown([]) == lasting_slowdown([[1.0] * 16 + [2.0] * 16]) == 0
    assert lasting_slowdown([[0.0] * 66]) == 0
    assert lasting_slowdown([[1.0] * 33, [3.0] * 33]) == 2
