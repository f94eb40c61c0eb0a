"""Facts that a board can be asked for: a probe is a shell command and a pure function of what it prints.

To add one, add it to `PROBES` and a recorded output to `tests/fixtures/probes/<probe>/<board>.json`,
which is a test by being there. A parser answers None where the output does not say.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from edgeopt.boards.transports import Transport


@dataclass(frozen=True, slots=True)
class Probe:
    """What to run on a board, and what its output means.

    Attributes:
        command: For a POSIX shell; prints nothing where the board does not have the fact.
        parse: From what was printed; JSON-able; never raises.
    """

    command: str
    parse: Callable[[str], Any]


def cpuinfo(text: str) -> dict[str, Any]:
    """`/proc/cpuinfo`: `model`, the `parts` of the cores (Arm only, `0xd08`) and ISA `features`."""
    fields: dict[str, list[str]] = {}
    for line in text.splitlines():
        name, separator, value = line.partition(":")
        if separator:
            fields.setdefault(name.strip().lower(), []).append(value.strip())
    models = fields.get("model name") or fields.get("hardware")
    features = fields.get("features") or fields.get("flags") or [""]
    return {
        "model": models[0] if models else None,
        "parts": [part.lower() for part in fields.get("cpu part", [])],
        "features": sorted(set(features[0].split())),
    }


def meminfo(text: str) -> int | None:
    """`/proc/meminfo`: RAM in bytes that the kernel can use."""
    found = re.search(r"^MemTotal:\s+(\d+) kB", text, re.MULTILINE)
    return int(found[1]) * 1024 if found else None


def os_release(text: str) -> str | None:
    """`/etc/os-release`: the name that the system gives itself."""
    found = re.search(r"^PRETTY_NAME=(.*)$", text, re.MULTILINE)
    return (found[1].strip().strip("\"'") or None) if found else None


def line(text: str) -> str | None:
    """A single line; device-tree strings end in a NUL."""
    return text.strip("\0 \t\r\n") or None


def strings(text: str) -> tuple[str, ...]:
    """A device-tree property of several strings, each of which ends in a NUL."""
    return tuple(part.strip() for part in text.split("\0") if part.strip())


def integer(text: str) -> int | None:
    """A decimal number alone on its line."""
    return int(text) if re.fullmatch(r"\s*-?[0-9]+\s*", text) else None


def millidegrees(text: str) -> float | None:
    """A temperature in sysfs, in °C."""
    value = integer(text)
    return None if value is None else value / 1000


def throttled(text: str) -> dict[str, bool] | None:
    """`vcgencmd get_throttled`: what holds now, and whether any of it has held since boot.

    Source: Raspberry Pi documentation, `get_throttled`: bits 0 to 3 now, 16 to 19 since boot.
    """
    found = re.search(r"throttled=0x([0-9a-fA-F]+)", text)
    if not found:
        return None
    bits = int(found[1], 16)
    names = ("under_voltage", "frequency_capped", "throttled", "soft_temperature_limit")
    now = {name: bool(bits >> bit & 1) for bit, name in enumerate(names)}
    return {**now, "any_since_boot": bool(bits >> 16 & 0xF)}


PROBES: dict[str, Probe] = {
    "machine": Probe("uname -m", line),
    "kernel": Probe("uname -r", line),
    "cores": Probe("nproc", integer),
    "cpuinfo": Probe("cat /proc/cpuinfo", cpuinfo),
    "device_model": Probe("cat /proc/device-tree/model 2>/dev/null", line),
    "meminfo": Probe("cat /proc/meminfo", meminfo),
    "os_release": Probe("cat /etc/os-release 2>/dev/null", os_release),
    "governor": Probe("cat /sys/devices/system/cpu/cpu0/cpufreq/scaling_governor 2>/dev/null", line),
    "temperature_c": Probe("cat /sys/class/thermal/thermal_zone0/temp 2>/dev/null", millidegrees),
    "throttled": Probe("vcgencmd get_throttled 2>/dev/null", throttled),
}


def probe(transport: Transport) -> dict[str, Any]:
    """Every probe's answer from a board; it needs no runtime there.

    Raises:
        ConnectError: The board is gone.
    """
    return {name: one.parse(transport.run(one.command).stdout) for name, one in PROBES.items()}
