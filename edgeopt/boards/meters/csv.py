"""Recordings of USB and bench meters: a text file that grows while the meter's own program writes to it.

`address` is the file, on the machine where the program runs. What its columns are is told by their names:

| program | columns | time |
|---|---|---|
| FNIRSI FNB48, FNB58, C1 logger | `timestamp … voltage_V current_A …`, blanks between | s since 1970 |
| Joulescope | `time,current,voltage,power,charge,energy`, or `#= header=…` | s since its start |
| Nordic PPK2 | `Timestamp(ms),Current(uA),…` | ms since its start; needs `volts` |
| anything else | `t_s,power_w`, with or without these names | s |

Only what is appended while measuring counts. The file's clock is laid on its machine's by the line that
arrived with the least delay; what delay remains is found by the load edges (`edgeopt.boards.metering.edges`).

Source: baryluk's fnirsi-usb-power-data-logger, Jetperch's pyjoulescope_examples, Nordic's nRF Connect Power
Profiler: formats read from their documentation and published recordings.
"""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from edgeopt.boards.meters import EnergySource, Example, Reading, Recording, Sample, Settings
from edgeopt.core.errors import ConfigError

SOURCE: EnergySource = "meter"
ERROR_SHARE = 0.02
INTERVAL_S = 0.05
KEYS = frozenset({"address", "volts"})

UNITS = {"": 1.0, "s": 1.0, "ms": 1e-3, "us": 1e-6, "w": 1.0, "mw": 1e-3, "uw": 1e-6, "a": 1.0, "ma": 1e-3,
         "ua": 1e-6, "v": 1.0, "mv": 1e-3}  # fmt: skip
NAMES = {
    "time": ("time", "timestamp", "t"),
    "power": ("power", "watts", "p"),
    "current": ("current", "i"),
    "voltage": ("voltage", "v"),
}


@dataclass(frozen=True, slots=True)
class Columns:
    """Where a figure stands in a line, and what it is multiplied with to be in SI units."""

    places: dict[str, tuple[int, float]]
    volts: float | None

    def sample(self, words: Sequence[str]) -> Sample | None:
        """Of one line; None if it is cut, or something in it is not a number."""
        try:
            found = {name: float(words[at]) * unit for name, (at, unit) in self.places.items()}
        except (IndexError, ValueError):
            return None
        if "power" not in found:
            found["power"] = found["current"] * found.get("voltage", self.volts or math.nan)
        if not math.isfinite(found["time"]) or not math.isfinite(found["power"]):
            return None
        return Sample(found["time"], found["power"])


def check(settings: Settings) -> None:
    """A file must be named."""
    if settings.address is None:
        raise ConfigError(
            "a csv meter needs address, the file to which the meter's program writes",
            hint='address = "/home/lab/usb-meter.csv", on the machine that host names',
        )


def reader(settings: dict[str, Any]) -> tuple[str, Callable[[], str]]:
    """Runs where the file is written."""
    import json
    from pathlib import Path

    path = Path(settings["root"], settings["address"].lstrip("/")).expanduser()
    if not path.is_file():
        raise OSError(f"there is no recording {path}: is the meter's program running?")
    with path.open("rb") as stream:
        first = [line.decode(errors="replace") for line in stream.readlines(1 << 12)]
        at = [stream.seek(0, 2)]
    lines = [line for line in first[:40] if not line[:1].isdigit() and line.strip()]
    data = next((line for line in first if line[:1].isdigit()), "")

    def read() -> str:
        with path.open("rb") as stream:
            stream.seek(at[0])
            whole, newline, _ = stream.read().rpartition(b"\n")  # the last line may still be written to
        at[0] += len(whole + newline)
        return (whole + newline).decode(errors="replace")

    return json.dumps({"names": lines, "first": data}), read


def parse(recording: Recording, settings: Settings) -> list[Sample]:
    """Watts of whole lines, on the clock of the machine that they were read on."""
    header = json.loads(recording.header)
    columns = columns_of(header["names"], header["first"], settings)
    arrived = [
        (reading.t_s, sample)
        for reading in recording.readings
        for line in reading.text.splitlines()
        if (sample := columns.sample(_words(line)))
    ]
    # Programs write in bursts: the line that waited least tells how the two clocks lie.
    offset_s = min((t_s - sample.t_s for t_s, sample in arrived), default=0.0)
    ordered = sorted({sample.t_s: sample for _, sample in arrived}.values(), key=lambda sample: sample.t_s)
    return [Sample(sample.t_s + offset_s, sample.power_w) for sample in ordered]


def columns_of(names: Sequence[str], first: str, settings: Settings) -> Columns:
    """Find the columns by their names, or take a nameless line of two for time and power.

    Raises:
        ConfigError: A column is missing, or the voltage is.
    """
    for line in names:
        words = _words(line.removeprefix("#= header=").removeprefix("#"))
        places = {
            figure: place
            for figure, known in NAMES.items()
            for place in [_find(words, known)]
            if place is not None
        }
        if "time" in places and ({"power", "current"} & places.keys()):
            if not {"power", "voltage"} & places.keys() and settings.volts is None:
                raise ConfigError(
                    f"{settings.address} holds a current and no voltage",
                    hint="volts = 5.1 in [board.NAME.meter]",
                )
            return Columns(places, settings.volts)
    if len(_words(first)) == 2:
        return Columns({"time": (0, 1.0), "power": (1, 1.0)}, None)
    shown = names[0].strip() if names else first.strip()
    raise ConfigError(
        f"{settings.address} does not say which of its columns are time and power: {shown!r}",
        hint="its first line should be t_s,power_w",
    )


def _find(words: Sequence[str], known: Sequence[str]) -> tuple[int, float] | None:
    """`current_A`, `Current(uA)`, `current`: the place of a column and its unit."""
    for at, word in enumerate(words):
        name, _, unit = word.strip().lower().replace("(", "_").rstrip(")").partition("_")
        if name.strip() in known and unit in UNITS:
            return at, UNITS[unit]
    return None


def _words(line: str) -> list[str]:
    for separator in (",", ";"):
        if separator in line:
            return [word.strip() for word in line.split(separator)]
    return line.split()


_FNB = "timestamp sample_in_packet voltage_V current_A dp_V dn_V temp_C_ema energy_Ws capacity_As\n"
_JLS = "time,current,voltage,power,charge,energy\n"
_PPK = "Timestamp(ms),Current(uA),D0-D7\n"


def _head(names: str, first: str = "") -> str:
    return json.dumps({"names": [names] if names else [], "first": first})


EXAMPLES = (
    Example(
        "fnb58-lagging",
        "format of fnirsi-usb-power-data-logger: four samples a packet, each printed 40 to 700 ms late; "
        "a line in the middle of being written",
        Settings("csv", address="/log.csv"),
        Recording(
            _head(_FNB, "1774531584.029 0 5.02325 0.05776 3.035 0.072 28.200 0.002901 0.000578\n"),
            (
                Reading(100.05, "1774531600.000 0 5.00000 0.50000 3.0 0.0 28.2 0.1 0.1\n"
                                "1774531600.010 1 5.00000 0.60000 3.0 0.0 28.2 0.1 0.1\n"),
                Reading(100.10, ""),
                Reading(100.75, "1774531600.020 2 5.10000 1.00000 3.0 0.0 28.2 0.1 0.1\n"
                                "1774531600.030 3 5.1000\n"),
            ),
        ),
        (Sample(100.04, 2.5), Sample(100.05, 3.0), Sample(100.06, 5.1)),
        files={
            "log.csv": f"\n{_FNB}1774531584.029 0 5.02325 0.05776 3.035 0.072 28.200 0.002901 0.000578\n",
        },
    ),
    Example(
        "fnb58-recorded",
        "recorded by others: README of baryluk/fnirsi-usb-power-data-logger; nothing is connected, packets "
        "overlap, so time goes back; only when the lines arrived is made up",
        Settings("csv", address="/log.csv"),
        Recording(
            _head(_FNB),
            (
                Reading(50.03, "1657568326.775 0 0.00000 0.00011 1.184 1.031 30.500 0.000000 0.000001\n"
                               "1657568326.785 1 0.00000 0.00000 1.184 1.033 30.500 0.000000 0.000001\n"
                               "1657568326.795 2 0.00000 0.00011 1.184 1.030 30.500 0.000000 0.000002\n"
                               "1657568326.805 3 0.00000 0.00000 1.184 1.031 30.500 0.000000 0.000002\n"),
                Reading(50.05, "1657568326.784 0 0.00000 0.00011 1.185 1.032 30.500 0.000000 0.000003\n"
                               "1657568326.794 1 0.00000 0.00000 1.184 1.029 30.500 0.000000 0.000003\n"),
            ),
        ),
        tuple(Sample(50.0 + at, 0.0) for at in (0.0, 0.009, 0.01, 0.019, 0.02, 0.03)),
    ),
    Example(
        "joulescope",
        "format of pyjoulescope_examples, downsample_logging.py",
        Settings("csv", address="/jslog.csv"),
        Recording(
            _head(_JLS, "0.5,0.00329505,3.2998,0.0108731,0.197703,0.652385\n"),
            (Reading(7.0, "60.5,0.6,5.0,3.0,0.2,0.6\n"),
             Reading(7.5, "61.0,0.8,5.0,nan,0.2,0.6\n61.0,0.8,5,4,1,1\n")),
        ),
        (Sample(7.0, 3.0), Sample(7.5, 4.0)),
    ),
    Example(
        "ppk2",
        "format of nRF Connect's Power Profiler: a current in µA and no voltage",
        Settings("csv", address="/ppk.csv", volts=5.0),
        Recording(_head(_PPK, "0,5,0\n"), (Reading(2.0, "1000.0,500000.0,00000000\n1001.0,-,00000000\n"),)),
        (Sample(2.0, 2.5),),
    ),
    Example(
        "plain",
        "two columns without names, cut and with nonsense",
        Settings("csv", address="/plain.csv"),
        Recording(_head("", "0.0,3.1\n"), (Reading(5.0, "10.0,3.1\n10.1,3.2\n\x00garbage\n10.2\n9,inf\n"),)),
        (Sample(4.9, 3.1), Sample(5.0, 3.2)),
        files={"plain.csv": "0.0,3.1\n"},
    ),
)  # fmt: skip
