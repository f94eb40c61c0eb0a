"""What stands in the way of measuring, from what boards print."""

from __future__ import annotations

import pytest

from edgeopt.boards import profiles
from edgeopt.boards.checks import Check, checks
from tests.boards.recorded import FOLDER, found

NOW_S = 1763822400.0


def of(board: str, device: str | None = "rpi4", **changed: str) -> dict[str, Check]:
    profile = profiles.load(device) if device else None
    return {check.name: check for check in checks(found(board, **changed), profile, NOW_S)}


@pytest.mark.parametrize("board", sorted(file.stem for file in FOLDER.glob("*.json")))
def test_whatever_is_not_in_order_says_what_mends_it(board: str) -> None:
    for check in of(board, None).values():
        assert check.found
        assert check.why
        assert (check.fix is None) == (check.verdict == "ok"), check


def test_a_prepared_board_is_in_order() -> None:
    prepared = {
        "governor": "performance\n" * 4,
        "hwmon": "hwmon2 ina219 curr1_input in1_input power1_input\n",
    }
    assert {check.name for check in of("rpi4b-4gb", **prepared).values() if check.verdict != "ok"} == set()


@pytest.mark.parametrize(
    ("changed", "name", "verdict", "said", "fix"),
    [
        ({"userland_bits": "32\n"}, "userland", "fail", "32-bit on a 64-bit kernel", "64-bit image"),
        ({"home_writable": "no\n"}, "home", "fail", "cannot be written", "remount,rw"),
        (
            {"free_disk_bytes": "F 1K Used Avail C M\n/dev/root 9 9 9000 99% /\n"},
            "disk",
            "fail",
            "9 MB free",
            "apt-get clean",
        ),
        (
            {"free_disk_bytes": "F 1K Used Avail C M\n/dev/root 9 9 90000 99% /\n"},
            "disk",
            "warn",
            "92 MB free",
            "apt-get clean",
        ),
        ({"free_disk_bytes": ""}, "disk", "warn", "unknown", "df"),
        (
            {"device_model": "Raspberry Pi 5 Model B Rev 1.0\0"},
            "identity",
            "fail",
            "no rpi4: its model is Raspberry Pi 5",
            "--device local",
        ),
        ({"cores": "2\n"}, "cores", "warn", "2 of 4 can be used", "online"),
        ({"available_bytes": "MemAvailable: 40000 kB\n"}, "memory", "fail", "39 MiB", "ps aux"),
        ({"available_bytes": "MemAvailable: 140000 kB\n"}, "memory", "warn", "137 MiB", "ps aux"),
        (
            {"swap": "Filename Type Size Used Priority\n/var/swap file 102396 35072 -2\n"},
            "swap",
            "warn",
            "34 of 100 MiB in use",
            "swapoff",
        ),
        ({"governor": "ondemand\n"}, "governor", "warn", "ondemand", "scaling_governor"),
        (
            {"throttled": "throttled=0x50005\n"},
            "throttling",
            "fail",
            "now: under voltage, throttled",
            "5.1 V",
        ),
        (
            {"throttled": "throttled=0x80008\n"},
            "throttling",
            "fail",
            "now: soft temperature limit",
            "cooling",
        ),
        ({"throttled": "throttled=0x50000\n"}, "throttling", "warn", "not now, but since boot", "reboot"),
        (
            {"throttled": "", "vcio": "denied\n"},
            "throttling",
            "warn",
            "no access to /dev/vcio",
            "usermod -aG video pi",
        ),
        ({"temperature_c": "cpu-thermal 81200\n"}, "temperature", "warn", "81 °C, above 75 °C", "cool"),
        (
            {"busy_share": "cpu 0 0 0 0 0 0 0 0\ncpu 50 0 0 50 0 0 0 0\n"},
            "other load",
            "warn",
            "50% of all cores",
            "top",
        ),
        ({"time_s": "12\n"}, "clock", "warn", "1970-01-01 00:00 UTC, 56 years behind", "set-ntp true"),
        (
            {"time_s": "1763826000\n"},
            "clock",
            "warn",
            "2025-11-22 15:40 UTC, 60 minutes ahead",
            "date -u -s @1763822400",
        ),
        ({"perf_paranoid": "3\n"}, "perf access", "warn", "perf_event_paranoid 3", "sysctl"),
        ({"hwmon": ""}, "meters", "warn", "none", "connect one"),
    ],
)
def test_each_fault_is_told_with_what_mends_it(
    changed: dict[str, str], name: str, verdict: str, said: str, fix: str
) -> None:
    check = of("rpi4b-4gb", **changed)[name]
    assert check.verdict == verdict
    assert said in check.found
    assert fix in str(check.fix)


def test_without_a_device_it_says_which_it_could_be() -> None:
    assert of("rpi400", None)["identity"].found == "Raspberry Pi 400 Rev 1.0, 4 cores: rpi4 or rpi400"
    assert of("x86-64-pc", None)["identity"].verdict == "warn"


def test_a_virtual_board_at_its_address_is_no_hardware() -> None:
    virtual = of("virtual-rpi4")
    assert virtual["identity"].verdict == "ok"
    assert (virtual["hardware"].verdict, "cores" in virtual) == ("warn", False)


def test_a_pi_5_without_access_to_its_pmic_is_told_how() -> None:
    assert of("rpi5-8gb", "rpi5")["meters"].found == "PMIC: 3 rails"
    without = of("rpi5-8gb", "rpi5", pmic_rails="", vcio="denied\n", throttled="")
    assert "usermod -aG video" in str(without["meters"].fix)
