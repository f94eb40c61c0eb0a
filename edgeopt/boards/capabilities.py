"""What a board lets its user see and set, what that needs, and what is lost without it.

Measuring itself needs none of it: everything here makes figures sharper, or says sooner why they are not.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from edgeopt.boards.identity import VIRTUAL_MACHINE

NOT_HERE = "not on this hardware"
PERF_UNITS = ("cpu", "armv")
MOST_PARANOID = 2
"""`perf_event_paranoid` up to which users may count their own cycles. Source: Linux, perf-security."""

METER_INPUTS = ("power", "curr", "energy")


@dataclass(frozen=True, slots=True)
class Feature:
    """One thing that a board may offer.

    Attributes:
        available: To the user that edgeopt logs in as.
        found: What it said, or what stands in the way.
        needs: Privilege, group or command that makes it available; what it took where it is.
        lost: What is not known, or not done, without it.
    """

    name: str
    available: bool
    found: str
    needs: str
    lost: str


def features(found: Mapping[str, Any]) -> list[Feature]:
    """The table, from the answers to `edgeopt.boards.probes`."""
    return [
        _throttle_bits(found),
        _actual_clock(found),
        _temperature(found),
        _governor(found),
        _counters(found),
        _meters(found),
        _pmic(found),
        _rapl(found),
        _memory_cgroup(found),
        _swap(found),
        _realtime(found),
    ]


def _throttle_bits(found: Mapping[str, Any]) -> Feature:
    bits = found["throttled"]
    held = [name for name, holds in (bits or {}).items() if holds]
    return Feature(
        "throttle bits",
        bits is not None,
        _firmware_says(found, ", ".join(held) or "none is set")
        if bits is not None
        else _firmware_says(found),
        _firmware_needs(found),
        "under-voltage and throttling are only guessed at, from temperature and a timed loop",
    )


def _actual_clock(found: Mapping[str, Any]) -> Feature:
    clock_hz = found["clock_hz"]
    return Feature(
        "actual clock",
        clock_hz is not None,
        f"{clock_hz / 1e6:.0f} MHz" if clock_hz is not None else _firmware_says(found),
        _firmware_needs(found),
        "a clock that the kernel only believes in is noticed by a timed loop, later and less exactly",
    )


def _temperature(found: Mapping[str, Any]) -> Feature:
    temperature_c = found["temperature_c"]
    return Feature(
        "temperature",
        temperature_c is not None,
        f"{temperature_c:.1f} °C" if temperature_c is not None else "no thermal zone",
        "no privilege" if temperature_c is not None else NOT_HERE,
        "a hot board is noticed only when it slows down",
    )


def _governor(found: Mapping[str, Any]) -> Feature:
    governor = found["governor"]
    allowed = found["governor_access"] == "open"
    return Feature(
        "cpufreq governor",
        allowed,
        f"{governor}, {'may be set' if allowed else 'may not be set'}" if governor else "no cpufreq",
        "root: echo performance | sudo tee /sys/devices/system/cpu/cpu*/cpufreq/scaling_governor"
        if governor
        else NOT_HERE,
        "clocks ramp up and down, so latencies spread, unless somebody has set it already",
    )


def _counters(found: Mapping[str, Any]) -> Feature:
    units = [unit for unit in found["perf_units"] if unit.startswith(PERF_UNITS)]
    paranoid = found["perf_paranoid"]
    may = paranoid is not None and (paranoid <= MOST_PARANOID or found["uid"] == 0)
    said = f"{', '.join(units) or 'no hardware counters'}, perf_event_paranoid {paranoid}"
    return Feature(
        "perf counters",
        bool(units) and may,
        said if paranoid is not None else "the kernel has no perf events",
        f"root: sudo sysctl kernel.perf_event_paranoid={MOST_PARANOID}" if units else NOT_HERE,
        "cycles and instructions stay unknown to whoever profiles there; edgeopt's figures do not use them",
    )


def meters(found: Mapping[str, Any]) -> list[str]:
    """The hwmon sensors that measure power, or a current and its voltage: `hwmon1 ina219`."""
    return [
        f"{sensor['device']} {sensor['name']}"
        for sensor in found["hwmon"]
        if any(name.startswith(METER_INPUTS) for name in sensor["inputs"])
    ]


def _meters(found: Mapping[str, Any]) -> Feature:
    seen = meters(found)
    return Feature(
        "hwmon meters",
        bool(seen),
        ", ".join(seen) or "none",
        "no privilege"
        if seen
        else "an INA219 or alike on I²C, and its overlay (dtoverlay=i2c-sensor,ina219 on a Pi)",
        "energy is a model's, unless another meter measures it",
    )


def _pmic(found: Mapping[str, Any]) -> Feature:
    rails = found["pmic_rails"]
    pi5 = (found["device_model"] or "").startswith(("Raspberry Pi 5", "Raspberry Pi Compute Module 5"))
    return Feature(
        "PMIC",
        rails is not None,
        f"{rails} rails" if rails is not None else _firmware_says(found) if pi5 else "only a Pi 5 has one",
        _firmware_needs(found) if pi5 else NOT_HERE,
        "energy is a model's, unless another meter measures it",
    )


def _rapl(found: Mapping[str, Any]) -> Feature:
    access = found["rapl"]
    return Feature(
        "RAPL",
        access == "open",
        {"open": "readable", "denied": "only root may read it"}.get(access or "", "only x86 has it"),
        "root: sudo chmod a+r /sys/class/powercap/intel-rapl:*/energy_uj (until the next boot)"
        if access
        else NOT_HERE,
        "energy is a model's, unless another meter measures it",
    )


def _memory_cgroup(found: Mapping[str, Any]) -> Feature:
    there = found["memory_cgroup"]
    pi = (found["device_model"] or "").startswith("Raspberry Pi")
    where = (
        " at the end of the line in /boot/firmware/cmdline.txt, and a reboot"
        if pi
        else " on the kernel's line"
    )
    return Feature(
        "memory cgroup",
        bool(there),
        "on" if there else "off" if there is False else "no cgroups",
        "root: cgroup_enable=memory cgroup_memory=1" + where if not there else "no privilege",
        "a model's memory is read from its process (VmHWM), and nothing but the whole RAM limits it",
    )


def _swap(found: Mapping[str, Any]) -> Feature:
    swap = found["swap"] or {"total_bytes": 0, "used_bytes": 0}
    none, root = swap["total_bytes"] == 0, found["uid"] == 0
    return Feature(
        "swap control",
        none or root,
        "no swap"
        if none
        else f"{swap['total_bytes'] >> 20} MiB, {swap['used_bytes'] >> 20} in use, "
        f"{'may' if root else 'may not'} be switched off",
        "no privilege" if none else "root: sudo swapoff -a (until the next boot)",
        "a model that does not fit is slow instead of refused",
    )


def _realtime(found: Mapping[str, Any]) -> Feature:
    highest = found["realtime_priority"] or 0
    allowed = highest > 0 or found["uid"] == 0
    return Feature(
        "real-time priority",
        allowed,
        "root may" if found["uid"] == 0 else f"up to {highest}" if allowed else "not allowed",
        f"root: echo '{found['user'] or 'USER'} - rtprio 50' | sudo tee /etc/security/limits.d/edgeopt.conf, "
        "and a new login",
        "other programs may interrupt an inference; edgeopt measures at normal priority, as applications run",
    )


def _firmware_says(found: Mapping[str, Any], answer: str = "") -> str:
    if answer:
        return answer
    if not _is_pi(found):
        return "only a Raspberry Pi has it"
    if not found["vcgencmd"]:
        return "vcgencmd is not installed"
    return "no access to /dev/vcio" if found["vcio"] != "open" else "the firmware does not say"


def _firmware_needs(found: Mapping[str, Any]) -> str:
    if not _is_pi(found):
        return NOT_HERE
    if not found["vcgencmd"]:
        return "root: sudo apt-get install raspi-utils (libraspberrypi-bin before Debian 12)"
    group, user = found["vcio_group"] or "video", found["user"] or "USER"
    return f"group {group}: sudo usermod -aG {group} {user}, and a new login"


def _is_pi(found: Mapping[str, Any]) -> bool:
    model = found["device_model"] or ""
    return model.startswith("Raspberry Pi") and VIRTUAL_MACHINE not in found["compatible"]
