"""What boards print, read: pure functions of text, for `edgeopt.boards.probes`.

Each answers None, or nothing of a kind, where the text does not say; none raises, whatever it is given.
"""

from __future__ import annotations

import re
from typing import Any


def cpuinfo(text: str) -> dict[str, Any]:
    """`/proc/cpuinfo`: `model`, the `parts` of the cores (Arm only, `0xd08`) and ISA `features`.

    The Raspberry Pi's kernel tells the board's model at the end, also in a container that shows no device
    tree; on x86 a field of that name is a number, and each core's own.
    """
    fields: dict[str, list[str]] = {}
    for line in text.splitlines():
        name, separator, value = line.partition(":")
        if separator:
            fields.setdefault(name.strip().lower(), []).append(value.strip())
    boards = [model for model in fields.get("model", []) if not model.isdigit()]
    models = boards or fields.get("model name") or fields.get("hardware")
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


CPU_ZONES = "cpu|soc|x86_pkg|package|mpu"
"""As in the on-board runner, which says whose they are."""


def cpu_temperature_c(text: str) -> float | None:
    """One line per thermal zone, its type and millidegrees: the first of a CPU or its SoC, in °C."""
    found = re.search(rf"^.*(?:{CPU_ZONES}).* (-?[0-9]+)$", text, re.MULTILINE | re.IGNORECASE)
    return int(found[1]) / 1000 if found else None


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


def clock_hz(text: str) -> int | None:
    """`vcgencmd measure_clock arm`: what the firmware counts, not what the kernel asked for."""
    found = re.search(r"^frequency\(\d+\)=(\d+)", text, re.MULTILINE)
    return int(found[1]) if found else None


def pmic_rails(text: str) -> int | None:
    """`vcgencmd pmic_read_adc` of a Pi 5: how many rails have both a current and a voltage."""
    currents = set(re.findall(r"^\s*(\S+)_A current\(", text, re.MULTILINE))
    voltages = set(re.findall(r"^\s*(\S+)_V volt\(", text, re.MULTILINE))
    return len(currents & voltages) or None


def firmware(text: str) -> str | None:
    """Version of what runs below the kernel: `vcgencmd version`, U-Boot's or a BIOS's."""
    found = re.search(r"^version (\S+)", text, re.MULTILINE)
    return found[1] if found else line(text.partition("\n")[0])


def distinct(text: str) -> str | None:
    """One value per core, of which those that differ: `performance`, or `performance, schedutil`."""
    return ", ".join(sorted({word for part in text.split() if (word := part.strip("\0"))})) or None


def words(text: str) -> list[str]:
    """Words, in their order."""
    return [word for part in text.split() if (word := part.strip("\0"))]


def yes(text: str) -> bool | None:
    """`yes` or `no`, also as 1 or 0."""
    return {"yes": True, "1": True, "no": False, "0": False}.get(text.strip())


def access(text: str) -> str | None:
    """Whether one of some files may be used: `open` or `denied`; None where there is none."""
    found = set(text.split())
    return next((state for state in ("open", "denied") if state in found), None)


def swap(text: str) -> dict[str, int] | None:
    """`/proc/swaps`: bytes there and in use, and how many of them are compressed memory (zram)."""
    rows = [row.split() for row in text.splitlines()]
    if not rows or rows[0][:1] != ["Filename"]:
        return None
    sizes = [
        (row[0], int(row[2]) * 1024, int(row[3]) * 1024)
        for row in rows[1:]
        if len(row) >= 4 and row[2].isdecimal() and row[3].isdecimal() and row[2].isascii()
    ]
    return {
        "total_bytes": sum(total for _, total, _ in sizes),
        "used_bytes": sum(used for _, _, used in sizes),
        "zram_bytes": sum(total for name, total, _ in sizes if "zram" in name),
    }


def free_bytes(text: str) -> int | None:
    """`df -Pk`: bytes that the user may still write."""
    found = re.search(r"\s(\d+)\s+(\d+)\s+(-?\d+)\s+\S+%\s", text + "\n", re.ASCII)
    return max(0, int(found[3])) * 1024 if found else None


def available_bytes(text: str) -> int | None:
    """`/proc/meminfo`: memory that programs can have without swapping."""
    found = re.search(r"^MemAvailable:\s+([0-9]+) kB", text, re.MULTILINE)
    return int(found[1]) * 1024 if found else None


def busy_share(text: str) -> float | None:
    """Two first lines of `/proc/stat`: share of all cores that was busy in between, 0 to 1."""
    found = re.findall(r"^cpu((?: +[0-9]+){8})", text, re.MULTILINE)
    rows = [[int(word) for word in row.split()] for row in found]
    if len(rows) != 2:
        return None
    spent = [after - before for before, after in zip(*rows, strict=True)]
    total = sum(spent)
    return 1 - (spent[3] + spent[4]) / total if total > 0 and min(spent) >= 0 else None


def memory_cgroup(text: str) -> bool | None:
    """`cgroup.controllers` (v2) and `/proc/cgroups` (v1): whether groups of processes have memory limits."""
    listed = re.search(r"^memory\s+[0-9]+\s+[0-9]+\s+([01])$", text, re.MULTILINE)
    if listed:
        return listed[1] == "1"
    return "memory" in text.split() if text.strip() else None


def realtime(text: str) -> int | None:
    """`/proc/self/limits`: the highest real-time priority that one may take; 0 is none."""
    found = re.search(r"^Max realtime priority\s+([0-9]+|unlimited)", text, re.MULTILINE)
    return None if found is None else 99 if found[1] == "unlimited" else int(found[1])


def sensors(text: str) -> list[dict[str, Any]]:
    """One line per hwmon device: its number, its name, its inputs (`curr1_input`, `power1_input`, ...)."""
    rows = [row.split() for row in text.splitlines()]
    return [
        {"device": row[0], "name": row[1], "inputs": sorted(row[2:])}
        for row in rows
        if len(row) >= 2 and re.fullmatch(r"hwmon[0-9]+", row[0])
    ]


def without_serial_numbers(text: str) -> str:
    """`/proc/cpuinfo` of a Raspberry Pi ends in the serial number of the unit."""
    return re.sub(r"^(Serial\s*: ).*", r"\g<1>0000000000000000", text, flags=re.MULTILINE)
