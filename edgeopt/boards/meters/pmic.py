"""The Raspberry Pi 5's own regulator, through `vcgencmd pmic_read_adc`.

It sees 12 rails behind the regulator and nothing of the 5 V loads (USB, HATs), so a linear fit makes the
whole board's power of them: P = 1.1451 * sum(V * I) + 0.5879 W. Readings are noisy, and each costs a process
on the board: at 50 per second others have found it slowed, here it is asked 12.5 times per second.

Source: the fit of jfikar's Pi 5 PMIC measurements; rails and format from outputs that users of the board have
published. No board was at hand.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any

from edgeopt.boards.meters import EnergySource, Example, Reading, Recording, Sample, Settings

SOURCE: EnergySource = "pmic"
ERROR_SHARE = 0.08
INTERVAL_S = 0.08
KEYS: frozenset[str] = frozenset()

RAILS = 12
"""With a current and a voltage each; their names differ between firmwares, the fit holds for all of them."""
SLOPE, OFFSET_W = 1.1451, 0.5879

_LINE = re.compile(r"^\s*(\w+)_([AV])\s+(?:current|volt)\(\d+\)=(\d+\.\d+)([AV])\s*$", re.MULTILINE)


def check(settings: Settings) -> None:
    """Nothing can be wrong: there is one of it."""


def reader(settings: dict[str, Any]) -> tuple[str, Callable[[], str]]:
    """Runs on the board."""
    import shutil
    import subprocess

    tool = shutil.which("vcgencmd")
    if tool is None:
        raise OSError("there is no vcgencmd: pmic is the regulator of a Raspberry Pi 5")

    def read() -> str:
        said = subprocess.run(
            [str(tool), "pmic_read_adc"], capture_output=True, text=True, timeout=2, check=False
        )
        return said.stdout

    first = read()
    if "current(" not in first:
        said = first.strip().splitlines()
        raise OSError(
            f"vcgencmd pmic_read_adc says {said[0] if said else 'nothing'!r}: only a Raspberry Pi 5 has it, "
            "and the user must be in the group video"
        )
    return "", read


def parse(recording: Recording, settings: Settings) -> list[Sample]:
    """Watts of readings in which no rail is missing: the fit is of the sum of all."""
    return [
        Sample(reading.t_s, SLOPE * sum(rails) + OFFSET_W)
        for reading in recording.readings
        if len(rails := rail_powers_w(reading.text)) == RAILS
    ]


def rail_powers_w(text: str) -> list[float]:
    """Volts times amperes of each rail that has both."""
    found: dict[str, dict[str, float]] = {"A": {}, "V": {}}
    for rail, kind, value, unit in _LINE.findall(text):
        if kind == unit:
            found[kind][rail] = float(value)
    return [amperes * found["V"][rail] for rail, amperes in found["A"].items() if rail in found["V"]]


_CURRENTS = (
    ("3V7_WL_SW", 0, 0.05855580), ("3V3_SYS", 1, 0.06148359), ("1V8_SYS", 2, 0.13272650),
    ("DDR_VDD2", 3, 0.13955800), ("DDR_VDDQ", 4, 0.00980400), ("1V1_SYS", 5, 0.19811380),
    ("0V8_SW", 6, 0.34157550), ("VDD_CORE", 7, 5.03652000), ("3V3_DAC", 17, 0.00006105),
    ("3V3_ADC", 18, 0.00054945), ("0V8_AON", 16, 0.00531135), ("HDMI", 22, 0.02161170),
)  # fmt: skip
_VOLTS = (
    ("3V7_WL_SW", 8, 3.61069200), ("3V3_SYS", 9, 3.29982600), ("1V8_SYS", 10, 1.81684800),
    ("DDR_VDD2", 11, 1.10109800), ("DDR_VDDQ", 12, 0.60366240), ("1V1_SYS", 13, 1.10292900),
    ("0V8_SW", 14, 0.80292960), ("VDD_CORE", 15, 0.89369880), ("3V3_DAC", 20, 3.29944700),
    ("3V3_ADC", 21, 3.30402600), ("0V8_AON", 19, 0.79618980), ("HDMI", 23, 4.92450000),
    ("EXT5V", 24, 4.92450000), ("BATT", 25, 0.00341880),
)  # fmt: skip


def _printed() -> str:
    lines = [f"{rail + '_A':>13} current({n})={value:.8f}A" for rail, n, value in _CURRENTS]
    return (
        "\n".join([*lines, *(f"{rail + '_V':>13} volt({n})={value:.8f}V" for rail, n, value in _VOLTS)])
        + "\n"
    )


_STRESS = _printed()
_STRESS_W = 7.36874
"""1.1451 * 5.92161 + 0.5879 W; the sum was taken apart from this file."""

EXAMPLES = (
    Example(
        "pi5-stress",
        "format and figures of an output that users of the Raspberry Pi 5 have published, all cores busy",
        Settings("pmic"),
        Recording("", (Reading(5.0, _STRESS),)),
        (Sample(5.0, _STRESS_W),),
        files={"bin/vcgencmd": f"#!/bin/sh\ncat <<'END'\n{_STRESS}END\n"},
    ),
    Example(
        "missing-rails",
        "written after it: a rail without voltage, a line cut in the middle, an error message, nothing",
        Settings("pmic"),
        Recording(
            "",
            (
                Reading(0.0, _STRESS),
                Reading(0.1, _STRESS.replace("  3V3_DAC_V volt(20)=3.29944700V\n", "\n")),
                Reading(0.2, _STRESS[: len(_STRESS) // 2]),
                Reading(0.3, 'error=1 error_msg="Command not registered"\n'),
                Reading(0.4, ""),
            ),
        ),
        (Sample(0.0, _STRESS_W),),
        lost=4,
    ),
)
