"""INA219, 226, 228, 231, 260 and 3221 (Jetson's too) through the kernel's hwmon, on the board or elsewhere.

`address` is the chip's I2C bus and address (`1-0040`), its hwmon name (`ina226`) or folder (`hwmon3`).
`channel` is its number or label; without it a chip must have just one. An energy counter is preferred to a
power register, and that to voltage times current, of which neither is taken at the same moment.

The kernel computes from the shunt that it was told of (10 mΩ where nobody told it), common breakouts of the
INA219 carry 100 mΩ: readings are scaled by assumed / actual, and nobody guesses the actual one.

Source: Linux, Documentation/hwmon/{sysfs-interface,ina2xx,ina238,ina3221}.rst. Read from documentation only.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from itertools import pairwise
from typing import Any

from edgeopt.boards.meters import EnergySource, Example, Reading, Recording, Sample, Settings
from edgeopt.core.errors import ConfigError

SOURCE: EnergySource = "meter"
ERROR_SHARE = 0.02
INTERVAL_S = 0.05
KEYS = frozenset({"address", "shunt_ohm", "channel"})


def check(settings: Settings) -> None:
    """A sensor and its shunt must be named."""
    if settings.address is None:
        raise ConfigError(
            "a hwmon meter needs address, the sensor's place",
            hint='address = "1-0040" (I2C bus 1, address 0x40), or what /sys/class/hwmon/*/name says',
        )
    if settings.shunt_ohm is None:
        raise ConfigError(
            "a hwmon meter needs shunt_ohm: the kernel assumes 0.01, common INA219 breakouts carry 0.1, "
            "and ten times too much power looks like a plausible board",
            hint='read it off the resistor (R100 is shunt_ohm = 0.1, R010 is 0.01); shunt_ohm = "kernel" '
            "where the device tree is right (Jetson) or the shunt is inside the chip (INA260)",
        )


def reader(settings: dict[str, Any]) -> tuple[str, Callable[[], str]]:
    """Runs on the meter's host."""
    import json
    import re
    from pathlib import Path

    wanted, channel = settings["address"], settings["channel"]
    names, found = [], []
    for folder in sorted(Path(settings["root"], "sys/class/hwmon").glob("hwmon*")):
        name = (folder / "name").read_text().strip() if (folder / "name").is_file() else ""
        device = (folder / "device").resolve().name
        names.append(f"{folder.name} ({name}, {device})")
        if wanted in (folder.name, name, device):
            found.append((folder, name))
    if len(found) != 1:
        which = "no hwmon sensor is" if not found else f"{len(found)} hwmon sensors are"
        raise OSError(f"{which} {wanted}; there are: {', '.join(names) or 'none'}")
    folder, name = found[0]

    def said(file: str) -> str:
        return (folder / file).read_text().strip() if (folder / file).is_file() else ""

    kinds = ("energy", "power", "curr")
    files = [re.fullmatch(r"(energy|power|curr)(\d+)_input", path.name) for path in folder.iterdir()]
    numbers = sorted({match[2] for match in files if match and not (name == "ina3221" and match[2] == "4")})
    numbers = [number for number in numbers if said(f"in{number}_enable") != "0"]
    labels = {number: said(f"in{number}_label") or said(f"power{number}_label") for number in numbers}
    chosen = [number for number in numbers if channel is None or channel in (number, labels[number])]
    if len(chosen) != 1:
        shown = ", ".join(f"{number} {labels[number]}".strip() for number in numbers)
        what = "needs channel: it has" if channel is None else f"has no channel {channel}, only"
        raise OSError(f"the hwmon sensor {name} {what} {shown or 'none'}")
    (number,) = chosen
    kind = next(kind for kind in kinds if (folder / f"{kind}{number}_input").is_file())
    paths = [folder / f"{kind}{number}_input"] + ([folder / f"in{number}_input"] if kind == "curr" else [])
    header = {
        "name": name,
        "kind": kind,
        "shunt_uohm": said(f"shunt{number}_resistor") or said("shunt_resistor"),
        "update_ms": said("update_interval"),
    }
    return json.dumps(header), lambda: " ".join(path.read_text().strip() for path in paths)


def parse(recording: Recording, settings: Settings) -> list[Sample]:
    """Watts: of counters between readings, at their middle; of registers at each."""
    header = json.loads(recording.header)
    scale = _assumed_ohm(header) / settings.shunt_ohm if isinstance(settings.shunt_ohm, float) else 1.0
    # What a slow chip says twice is one sample.
    least_s = 0.9 * float(header["update_ms"] or 0) / 1000
    kept: list[tuple[float, list[int]]] = []
    for reading in recording.readings:
        values = _integers(reading.text)
        whole = len(values) == (2 if header["kind"] == "curr" else 1)
        if whole and (not kept or reading.t_s - kept[-1][0] >= least_s):
            kept.append((reading.t_s, values))
    if header["kind"] == "energy":
        return [
            Sample((t0 + t1) / 2, scale * (b[0] - a[0]) / 1e6 / (t1 - t0))
            for (t0, a), (t1, b) in pairwise(kept)
            if b[0] >= a[0] and t1 > t0  # a counter that went back was reset
        ]
    if header["kind"] == "power":
        return [Sample(t, scale * values[0] / 1e6) for t, values in kept]
    return [Sample(t, scale * values[0] * values[1] / 1e6) for t, values in kept]


def _assumed_ohm(header: dict[str, str]) -> float:
    """What the kernel computes with; it assumes 10 mΩ where it does not say."""
    return float(header["shunt_uohm"] or 10_000) / 1e6


def _integers(text: str) -> list[int]:
    words = text.split()
    return [int(word) for word in words] if all(word.lstrip("-").isdigit() for word in words) else []


def _header(name: str, kind: str, shunt: str = "", update: str = "") -> str:
    return json.dumps({"name": name, "kind": kind, "shunt_uohm": shunt, "update_ms": update})


_WRITTEN = "written after Documentation/hwmon of Linux 6.12"

EXAMPLES = (
    Example(
        "ina219-breakout",
        f"{_WRITTEN}, ina2xx.rst: the kernel assumes 10 mΩ, the breakout carries 100 mΩ",
        Settings("hwmon", address="1-0040", shunt_ohm=0.1),
        Recording(
            _header("ina219", "power", "10000"),
            (Reading(10.0, "31400000"), Reading(10.05, "52000000")),
        ),
        (Sample(10.0, 3.14), Sample(10.05, 5.2)),
        files={
            "sys/class/hwmon/hwmon0/name": "cpu_thermal\n",
            "sys/class/hwmon/hwmon0/temp1_input": "48200\n",
            "sys/devices/i2c-1/1-0040/hwmon/hwmon1/name": "ina219\n",
            "sys/devices/i2c-1/1-0040/hwmon/hwmon1/power1_input": "31400000\n",
            "sys/devices/i2c-1/1-0040/hwmon/hwmon1/curr1_input": "6280\n",
            "sys/devices/i2c-1/1-0040/hwmon/hwmon1/in0_input": "63\n",
            "sys/devices/i2c-1/1-0040/hwmon/hwmon1/in1_input": "5000\n",
            "sys/devices/i2c-1/1-0040/hwmon/hwmon1/shunt_resistor": "10000\n",
            "sys/class/hwmon/hwmon1": "-> ../../devices/i2c-1/1-0040/hwmon/hwmon1",
            "sys/devices/i2c-1/1-0040/hwmon/hwmon1/device": "-> ../../../1-0040",
        },
    ),
    Example(
        "ina219-of-a-ups",
        "recorded by others: github.com/networkupstools/nut/issues/2960; a battery that discharges through a "
        "shunt of 100 mΩ, which the kernel knows: the current is negative, the power is not",
        Settings("hwmon", address="ina219", shunt_ohm=0.1),
        Recording(_header("ina219", "power", "100000"), (Reading(3.0, "176000"),)),
        (Sample(3.0, 0.176),),
        files={
            f"sys/class/hwmon/hwmon2/{file}": f"{text}\n"
            for file, text in {
                "name": "ina219", "in0_input": -4, "in1_input": 4228, "power1_input": 176000,
                "curr1_input": -40, "shunt_resistor": 100000,
            }.items()
        },
    ),
    Example(
        "jetson-ina3221",
        f"{_WRITTEN}, ina3221.rst; labels as Jetson boards name their rails",
        Settings("hwmon", address="ina3221", shunt_ohm="kernel", channel="VDD_IN"),
        Recording(
            _header("ina3221", "curr", "5000", "2"), (Reading(1.0, "1432 5032"), Reading(1.05, "1440"))
        ),
        (Sample(1.0, 7.205824),),
        lost=1,
        files={
            f"sys/class/hwmon/hwmon4/{file}": text
            for file, text in {
                "name": "ina3221\n", "update_interval": "2\n",
                "in1_label": "VDD_IN\n", "in1_input": "5032\n", "curr1_input": "1432\n", "in1_enable": "1\n",
                "in2_label": "VDD_CPU_GPU_CV\n", "in2_input": "5032\n", "curr2_input": "368\n",
                "in3_label": "VDD_SOC\n", "in3_input": "5032\n", "curr3_input": "288\n",
                "shunt1_resistor": "5000\n", "shunt2_resistor": "5000\n", "shunt3_resistor": "5000\n",
                "in4_input": "7\n", "in7_label": "sum of shunt voltages\n", "curr4_input": "2088\n",
            }.items()
        },
    ),
    Example(
        "ina228-counter",
        f"{_WRITTEN}, ina238.rst: energy in µJ; reset once, one line cut",
        Settings("hwmon", address="hwmon2", shunt_ohm=0.015),
        Recording(
            _header("ina228", "energy"),
            (Reading(0.0, "9000000"), Reading(0.1, "9600000"), Reading(0.2, ""), Reading(0.3, "300000"),
             Reading(0.4, "750000")),
        ),
        (Sample(0.05, 4.0), Sample(0.35, 3.0)),
        lost=3,
        files={
            "sys/class/hwmon/hwmon2/name": "ina228\n",
            "sys/class/hwmon/hwmon2/energy1_input": "9000000\n",
            "sys/class/hwmon/hwmon2/power1_input": "6000000\n",
            "sys/class/hwmon/hwmon2/curr1_input": "1200\n",
            "sys/class/hwmon/hwmon2/in1_input": "5000\n",
        },
    ),
    Example(
        "ina226-slow",
        f"{_WRITTEN}, ina2xx.rst: a conversion every 140 ms, looked at every 50 ms; nonsense in between",
        Settings("hwmon", address="ina226", shunt_ohm="kernel"),
        Recording(
            _header("ina226", "power", "2000", "140"),
            (Reading(0.0, "2500000"), Reading(0.05, "2500000"), Reading(0.1, "Remote I/O error"),
             Reading(0.15, "2525000"), Reading(0.2, "2525000")),
        ),
        (Sample(0.0, 2.5), Sample(0.15, 2.525)),
        lost=3,
    ),
)  # fmt: skip
