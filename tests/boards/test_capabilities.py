"""What a board offers, what it needs, what is lost: from what boards print."""

from __future__ import annotations

import pytest

from edgeopt.boards.capabilities import NOT_HERE, Feature, features
from tests.boards.recorded import FOLDER, found

BOARDS = sorted(file.stem for file in FOLDER.glob("*.json"))


def of(board: str, **changed: str) -> dict[str, Feature]:
    return {feature.name: feature for feature in features(found(board, **changed))}


def available(board: str, **changed: str) -> set[str]:
    return {name for name, feature in of(board, **changed).items() if feature.available}


@pytest.mark.parametrize("board", BOARDS)
def test_each_feature_says_what_it_needs_and_what_is_lost(board: str) -> None:
    assert len(of(board)) == 11
    for feature in of(board).values():
        assert feature.found
        assert feature.needs
        assert feature.lost


@pytest.mark.parametrize(
    ("board", "expected"),
    [
        (
            "rpi4b-4gb",
            {"throttle bits", "actual clock", "temperature", "perf counters"},
        ),
        ("rpi5-8gb", {"throttle bits", "actual clock", "temperature", "perf counters", "PMIC"}),
        ("rpi-cm4-8gb", {"temperature", "perf counters"}),
        ("jetson-orin-nano", {"temperature", "perf counters", "hwmon meters", "memory cgroup"}),
        ("beaglebone-ai64", {"temperature", "perf counters", "memory cgroup", "swap control"}),
        ("quartz64-a-rk3566", {"temperature", "memory cgroup", "swap control"}),
        (
            "imx8mplus-evk",
            {"temperature", "perf counters", "memory cgroup", "swap control", "real-time priority"},
        ),
        ("x86-64-pc", {"memory cgroup", "swap control", "hwmon meters"}),
        ("virtual-rpi4", {"memory cgroup", "swap control"}),
    ],
)
def test_what_is_available(board: str, expected: set[str]) -> None:
    assert available(board, **({"temperature_c": ""} if board == "x86-64-pc" else {})) == expected


def test_without_its_group_a_user_is_told_the_command() -> None:
    bits = of("rpi-cm4-8gb")["throttle bits"]
    assert (bits.found, bits.needs) == (
        "no access to /dev/vcio",
        "group video: sudo usermod -aG video pi, and a new login",
    )
    absent = of("rpi-cm4-8gb", vcgencmd="")["throttle bits"]
    assert (absent.found, absent.needs.split()[:5]) == (
        "vcgencmd is not installed",
        ["root:", "sudo", "apt-get", "install", "raspi-utils"],
    )


def test_what_holds_is_told() -> None:
    assert of("rpi3bplus")["throttle bits"].found == "under_voltage, throttled, any_since_boot"
    assert of("rpi3bplus")["actual clock"].found == "600 MHz"
    assert of("jetson-orin-nano")["hwmon meters"].found == "hwmon1 ina3221"


def test_what_hardware_lacks_no_command_mends() -> None:
    for board in ("odroid-c4", "virtual-rpi4"):
        for name in ("throttle bits", "actual clock", "PMIC", "RAPL"):
            assert of(board)[name].needs == NOT_HERE


def test_a_paranoid_kernel_lets_only_root_count() -> None:
    assert "perf counters" not in available("rpi4b-4gb", perf_paranoid="3\n")
    assert "perf counters" in available("rpi4b-4gb", perf_paranoid="3\n", uid="0\n")
    assert of("rpi4b-4gb", perf_paranoid="3\n")["perf counters"].needs.endswith(
        "kernel.perf_event_paranoid=2"
    )
