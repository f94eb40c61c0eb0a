"""Energy counters of Intel and AMD processors: `/sys/class/powercap/intel-rapl:N/energy_uj`, for x86 boards.

They count the packages, not the board: memory, storage and the supply's losses are not in them. `address` may
be `psys`, the platform's counter, where there is one. Since 2020 only root may read them.

Source: Linux, Documentation/power/powercap/powercap.rst. The share of error is from memory of comparisons
with meters (a few percent on processors since 2013). Read from documentation only.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from itertools import pairwise
from typing import Any

from edgeopt.boards.meters import EnergySource, Example, Reading, Recording, Sample, Settings
from edgeopt.core.errors import ConfigError

SOURCE: EnergySource = "rapl"
ERROR_SHARE = 0.05
INTERVAL_S = 0.05
KEYS = frozenset({"address"})


def check(settings: Settings) -> None:
    """The packages together, or the platform's counter."""
    if settings.address not in (None, "package", "psys"):
        raise ConfigError(
            f"a rapl meter has no address {settings.address!r}",
            hint='address = "package" (or none), or "psys"',
        )


def reader(settings: dict[str, Any]) -> tuple[str, Callable[[], str]]:
    """Runs on the board, as root."""
    import json
    from pathlib import Path

    base, wanted = Path(settings["root"], "sys/class/powercap"), settings["address"] or "package"
    zones = [zone for zone in sorted(base.glob("intel-rapl:*")) if zone.name.count(":") == 1]
    names = {zone: (zone / "name").read_text().strip() for zone in zones}
    chosen = [zone for zone, name in names.items() if name.startswith(wanted)]
    if not chosen:
        raise OSError(f"{base} has no {wanted} counter; it has: {', '.join(names.values()) or 'none'}")
    try:
        ranges = [int((zone / "max_energy_range_uj").read_text()) for zone in chosen]
        (chosen[0] / "energy_uj").read_text()
    except PermissionError:
        raise OSError(
            f"{chosen[0]}/energy_uj may be read by root only: chmod o+r on it, or measure as root"
        ) from None
    return json.dumps(ranges), lambda: " ".join((zone / "energy_uj").read_text().strip() for zone in chosen)


def parse(recording: Recording, settings: Settings) -> list[Sample]:
    """Watts between readings, at their middle. A counter that went back has wrapped, once: between two
    readings it cannot twice."""
    ranges = json.loads(recording.header)
    kept = [
        (reading.t_s, [int(word) for word in words])
        for reading in recording.readings
        if len(words := reading.text.split()) == len(ranges) and all(word.isdigit() for word in words)
    ]
    return [
        Sample(
            (t0 + t1) / 2,
            # The counter runs from 0 to its range, both included.
            sum((new - old) % (most + 1) for old, new, most in zip(a, b, ranges, strict=True))
            / 1e6
            / (t1 - t0),
        )
        for (t0, a), (t1, b) in pairwise(kept)
        if t1 > t0
    ]


_WRITTEN = "written after Documentation/power/powercap/powercap.rst of Linux 6.12"

EXAMPLES = (
    Example(
        "wrap-around",
        f"{_WRITTEN}: the counter passes its range between the second and the third reading; one is empty",
        Settings("rapl"),
        Recording(
            "[262143328850]",
            (Reading(0.0, "262142328851"), Reading(0.5, "262142828851"), Reading(1.0, "500000"),
             Reading(1.5, ""), Reading(2.0, "5500000")),
        ),
        (Sample(0.25, 1.0), Sample(0.75, 2.0), Sample(1.5, 5.0)),
        lost=2,
        files={
            "sys/class/powercap/intel-rapl:0/name": "package-0\n",
            "sys/class/powercap/intel-rapl:0/energy_uj": "262142328851\n",
            "sys/class/powercap/intel-rapl:0/max_energy_range_uj": "262143328850\n",
            "sys/class/powercap/intel-rapl:0:0/name": "core\n",
            "sys/class/powercap/intel-rapl:0:0/energy_uj": "1\n",
            "sys/class/powercap/intel-rapl:0:0/max_energy_range_uj": "262143328850\n",
            "sys/class/powercap/intel-rapl:1/name": "psys\n",
            "sys/class/powercap/intel-rapl:1/energy_uj": "7\n",
            "sys/class/powercap/intel-rapl:1/max_energy_range_uj": "262143328850\n",
        },
    ),
    Example(
        "two-packages",
        f"{_WRITTEN}: two sockets, one of them wraps",
        Settings("rapl", address="package"),
        Recording(
            "[65532610987, 65532610987]",
            (Reading(0.0, "1000 65532610987"), Reading(0.1, "301000 299999")),
        ),
        (Sample(0.05, 6.0),),
        lost=1,
    ),
)  # fmt: skip
