"""What of a board's state stands in the way of measuring on it: pure functions of what its probes said."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, Literal

from edgeopt.boards import capabilities
from edgeopt.boards.facts import probed
from edgeopt.boards.identity import (
    IMAGE,
    STATE_IT,
    UNKNOWN_MODEL,
    VIRTUAL_MACHINE,
    accepting,
    differences,
    expected_cores,
    one_of,
)
from edgeopt.core.profile import DeviceProfile

Verdict = Literal["ok", "warn", "fail"]

LEAST_DISK_BYTES, GOOD_DISK_BYTES = 64 << 20, 512 << 20
LEAST_MEMORY_BYTES, GOOD_MEMORY_BYTES = 64 << 20, 192 << 20
"""ONNX Runtime alone takes 62 MB; models come on top of that."""

MOST_CLOCK_ERROR_S = 120.0
SET_CLOCK = "sudo timedatectl set-ntp true"
OTHER_CPU = 0.03
"""Where no profile says how much other programs may take."""

PERFORMANCE = (
    "for g in /sys/devices/system/cpu/cpu*/cpufreq/scaling_governor; do echo performance | sudo tee $g; done"
)


@dataclass(frozen=True, slots=True)
class Check:
    """One thing that was looked at.

    Attributes:
        verdict: `fail` where nothing can be measured before it is mended; `warn` where figures suffer.
        found: What the board said.
        why: Why it matters.
        fix: What mends it, where it is not in order: a command where there is one.
    """

    name: str
    verdict: Verdict
    found: str
    why: str
    fix: str | None = None


def checks(found: Mapping[str, Any], profile: DeviceProfile | None, now_s: float) -> Iterator[Check]:
    """All of them, in the order in which one would mend things.

    Args:
        found: The answers to `edgeopt.boards.probes`.
        profile: Of the device that it is meant to be; None if nobody said.
        now_s: The host's clock at the time, in seconds since 1970.
    """
    yield _userland(found)
    yield _home(found)
    yield _disk(found)
    yield _identity(found, profile)
    yield from _emulated(found)
    yield from _cores(found, profile)
    yield _memory(found)
    yield _swap(found)
    yield _governor(found)
    yield _throttling(found)
    yield _temperature(found, profile)
    yield _load(found, profile)
    yield _time(found, now_s)
    yield _perf(found)
    yield _meters(found)


def _userland(found: Mapping[str, Any]) -> Check:
    bits, machine = found["userland_bits"], found["machine"] or "unknown"
    why = "onnxruntime has no wheels for 32-bit Arm"
    if bits == 32:
        trap = " on a 64-bit kernel" if machine.endswith("64") else f" ({machine})"
        return Check("userland", "fail", f"32-bit{trap}", why, IMAGE)
    return Check("userland", "ok", f"{bits or '?'}-bit, {found['os_release'] or machine}", why)


def _home(found: Mapping[str, Any]) -> Check:
    why = "runner, models and inputs are kept in ~/.cache/edgeopt"
    if found["home_writable"] is False:
        fix = "sudo mount -o remount,rw / (a damaged card is mounted read-only: see dmesg), or another user"
        return Check("home", "fail", "cannot be written", why, fix)
    return Check("home", "ok", f"{found['user'] or 'the user'} may write there", why)


def _disk(found: Mapping[str, Any]) -> Check:
    free_bytes = found["free_disk_bytes"]
    if free_bytes is None:
        return Check("disk", "warn", "unknown", "models are stored on the board", "run df there")
    verdict = _enough(free_bytes, LEAST_DISK_BYTES, GOOD_DISK_BYTES)
    fix = (
        None
        if verdict == "ok"
        else "sudo apt-get clean; edgeopt boards clean BOARD frees what edgeopt keeps there"
    )
    return Check("disk", verdict, f"{free_bytes / 1e6:.0f} MB free", "models are stored on the board", fix)


def _identity(found: Mapping[str, Any], profile: DeviceProfile | None) -> Check:
    facts = probed(found)
    cores = len(facts.core_parts) or facts.cores
    who = f"{facts.model or 'no device tree'}, {cores} core{'s' * (cores != 1)}"
    why = "limits, peaks and thresholds come from the profile of the device"
    possible = [name for name in accepting(facts) if name != "local"]
    if profile is None:
        if possible:
            return Check("identity", "ok", f"{who}: {one_of(possible)}", why)
        fix = "use --device local, or write a profile: docs/adding-a-device.md"
        return Check("identity", "warn", f"{who}: no profile describes it", why, fix)
    if differing := differences(profile, facts):
        fix = f"edgeopt boards add NAME URL --device {possible[0]}" if possible else "use --device local"
        hidden = [difference.found for difference in differing] == [UNKNOWN_MODEL]
        fix = STATE_IT if hidden else fix
        return Check("identity", "fail", f"no {profile.name}: {'; '.join(map(str, differing))}", why, fix)
    return Check("identity", "ok", f"{who}: {profile.name}", why)


def _emulated(found: Mapping[str, Any]) -> Iterator[Check]:
    if VIRTUAL_MACHINE in found["compatible"]:
        yield Check(
            "hardware",
            "warn",
            "QEMU's virtual machine",
            "at this address times are the emulator's, not a board's",
            "use --board virtual, which prices what it executes",
        )


def _cores(found: Mapping[str, Any], profile: DeviceProfile | None) -> Iterator[Check]:
    expected = expected_cores(profile) if profile else None
    if (
        expected
        and found["cores"]
        and found["cores"] < expected
        and VIRTUAL_MACHINE not in found["compatible"]
    ):
        yield Check(
            "cores",
            "warn",
            f"{found['cores']} of {expected} can be used",
            "models run slower than on the device",
            "sudo sh -c 'for c in /sys/devices/system/cpu/cpu*/online; do echo 1 > $c; done'; "
            "and look for isolcpus= or maxcpus= in /proc/cmdline",
        )


def _memory(found: Mapping[str, Any]) -> Check:
    free_bytes, why = (
        found["available_bytes"],
        "the runtime alone takes 62 MB, and a model that swaps is slow",
    )
    if free_bytes is None:
        return Check("memory", "warn", "unknown", why, "run free there")
    verdict = _enough(free_bytes, LEAST_MEMORY_BYTES, GOOD_MEMORY_BYTES)
    fix = (
        None
        if verdict == "ok"
        else "ps aux --sort=-rss | head; end what is not needed (desktop: sudo systemctl isolate multi-user)"
    )
    return Check("memory", verdict, f"{free_bytes / 2**20:.0f} MiB available", why, fix)


def _swap(found: Mapping[str, Any]) -> Check:
    why = "what was swapped out comes back in the midst of an inference"
    swap = found["swap"]
    if swap is None:
        return Check("swap", "warn", "unknown", why, "cat /proc/swaps there")
    if swap["used_bytes"]:
        used = f"{swap['used_bytes'] / 2**20:.0f} of {swap['total_bytes'] / 2**20:.0f} MiB in use"
        return Check("swap", "warn", used, why, "sudo swapoff -a (until the next boot)")
    total = f"{swap['total_bytes'] / 2**20:.0f} MiB, none in use" if swap["total_bytes"] else "none"
    return Check("swap", "ok", total, why)


def _governor(found: Mapping[str, Any]) -> Check:
    governor, why = found["governor"], "other governors change the clock in the midst of a measurement"
    if governor in (None, "performance"):
        return Check("governor", "ok", governor or "no cpufreq: nothing changes the clock", why)
    return Check("governor", "warn", governor, why, PERFORMANCE)


def _throttling(found: Mapping[str, Any]) -> Check:
    bits, why = found["throttled"], "a throttled core is slower than it says"
    if bits is None:
        feature = capabilities.features(found)[0]
        known = feature.needs != capabilities.NOT_HERE
        return Check(
            "throttling", "warn" if known else "ok", feature.found, why, feature.needs if known else None
        )
    now = [name.replace("_", " ") for name, holds in bits.items() if holds and name != "any_since_boot"]
    power = "a power supply and cable that hold 5.1 V" if bits["under_voltage"] else "cooling"
    if now:
        return Check("throttling", "fail", f"now: {', '.join(now)}", why, f"needs {power}")
    if bits["any_since_boot"]:
        return Check(
            "throttling",
            "warn",
            "not now, but since boot",
            why,
            "better power or cooling; a reboot forgets it",
        )
    return Check("throttling", "ok", "none since boot", why)


def _temperature(found: Mapping[str, Any], profile: DeviceProfile | None) -> Check:
    temperature_c, why = found["temperature_c"], "a hot board slows itself down"
    limit_c = profile.get("measurement", "max_temperature_c") if profile else None
    if temperature_c is None:
        return Check("temperature", "ok", "not told", why)
    if limit_c is not None and temperature_c > limit_c:
        said = f"{temperature_c:.0f} °C, above {limit_c} °C"
        return Check("temperature", "warn", said, why, "let it cool, or give it a fan")
    return Check("temperature", "ok", f"{temperature_c:.0f} °C", why)


def _load(found: Mapping[str, Any], profile: DeviceProfile | None) -> Check:
    why = "other programs take time and caches from the model; such windows are refused"
    limit = (profile.get("measurement", "max_other_cpu") if profile else None) or OTHER_CPU
    busy = found["busy_share"]
    if busy is None:
        return Check("other load", "warn", "unknown", why, "top there")
    said = f"{busy:.0%} of all cores in one second, allowed are {limit:.0%}"
    if busy > limit:
        return Check("other load", "warn", said, why, "top -o %CPU there shows who; end it, or wait")
    return Check("other load", "ok", said, why)


def _time(found: Mapping[str, Any], now_s: float) -> Check:
    why = "certificates, packages and dates of files go by it; latencies do not"
    if found["time_s"] is None:
        return Check("clock", "warn", "unknown", why, "date there")
    if said := wrong_clock(found["time_s"], now_s):
        return Check("clock", "warn", said, why, f"{SET_CLOCK}, or: sudo date -u -s @{now_s:.0f}")
    synchronized = {True: "synchronised", False: "right, but not synchronised"}
    return Check("clock", "ok", synchronized.get(found["time_synchronized"], "right"), why)


def wrong_clock(time_s: float, now_s: float) -> str | None:
    """What a board's clock says, if it is not the host's time; without a network it starts in 1970."""
    ahead_s = time_s - now_s
    if abs(ahead_s) <= MOST_CLOCK_ERROR_S:
        return None
    date = datetime.fromtimestamp(time_s, UTC).strftime("%Y-%m-%d %H:%M UTC")
    return f"{date}, {_span(abs(ahead_s))} {'ahead' if ahead_s > 0 else 'behind'}"


def _perf(found: Mapping[str, Any]) -> Check:
    feature = next(f for f in capabilities.features(found) if f.name == "perf counters")
    known = feature.available or feature.needs == capabilities.NOT_HERE
    return Check(
        "perf access",
        "ok" if known else "warn",
        feature.found,
        feature.lost,
        None if known else feature.needs,
    )


def _meters(found: Mapping[str, Any]) -> Check:
    seen = [f for f in capabilities.features(found) if f.name in ("hwmon meters", "PMIC", "RAPL")]
    there = [f"{f.name}: {f.found}" for f in seen if f.available]
    why = "without a meter, energy is a model's"
    if there:
        return Check("meters", "ok", "; ".join(there), why)
    nearly = [f for f in seen if f.needs != capabilities.NOT_HERE and f.name != "hwmon meters"]
    fix = nearly[0].needs if nearly else "connect one, only if energy is an objective: docs/boards/README.md"
    return Check("meters", "warn", "none", why, fix)


def _enough(there: int, least: int, good: int) -> Verdict:
    return "fail" if there < least else "warn" if there < good else "ok"


def _span(seconds: float) -> str:
    for unit, size in (("years", 31557600), ("days", 86400), ("hours", 3600), ("minutes", 60)):
        if seconds >= 2 * size:
            return f"{seconds / size:.0f} {unit}"
    return f"{seconds:.0f} s"
