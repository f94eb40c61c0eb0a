"""Facts that a board can be asked for: a probe is a shell command and a pure function of what it prints.

To add one, add it to `PROBES`, and what boards print to the files of `tests/boards/data/probes`.
"""

from __future__ import annotations

import secrets
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from edgeopt.boards import readings
from edgeopt.boards.transports import FOLDER, Transport
from edgeopt.core.errors import CommandError


@dataclass(frozen=True, slots=True)
class Probe:
    """What to run on a board, and what its output means.

    Attributes:
        command: For a POSIX shell, as an ordinary user; prints nothing where there is no such fact.
        parse: From what was printed; JSON-able; never raises.
    """

    command: str
    parse: Callable[[str], Any]


CPUS = "/sys/devices/system/cpu/cpu[0-9]*/cpufreq"
FIRMWARE = (
    "timeout 5 vcgencmd version 2>/dev/null || cat /proc/device-tree/chosen/u-boot,version 2>/dev/null"
    " || cat /sys/class/dmi/id/bios_version 2>/dev/null"
)
STATE = 'for f in {0}; do [ -e "$f" ] || continue; [ -{1} "$f" ] && echo open || echo denied; done'

WHO: dict[str, Probe] = {
    "machine": Probe("uname -m", readings.line),
    "kernel": Probe("uname -r", readings.line),
    "kernel_build": Probe("uname -v", readings.line),
    "cores": Probe("nproc", readings.integer),
    "cpuinfo": Probe("cat /proc/cpuinfo", readings.cpuinfo),
    "device_model": Probe("cat /proc/device-tree/model 2>/dev/null", readings.line),
    "compatible": Probe("cat /proc/device-tree/compatible 2>/dev/null", readings.strings),
    "ram_bytes": Probe("cat /proc/meminfo", readings.meminfo),
    "os_release": Probe("cat /etc/os-release 2>/dev/null", readings.os_release),
    "userland_bits": Probe("getconf LONG_BIT", readings.integer),
    "firmware": Probe(FIRMWARE, readings.firmware),
    "clock_limits_khz": Probe(f"cat {CPUS}/cpuinfo_max_freq 2>/dev/null", readings.distinct),
}
"""Who the board is: `identity` and `BoardFacts.epoch` look at these."""

STATES: dict[str, Probe] = {
    "governor": Probe(f"cat {CPUS}/scaling_governor 2>/dev/null", readings.distinct),
    "temperature_c": Probe(
        'for z in /sys/class/thermal/thermal_zone*; do [ -r "$z/temp" ] || continue; '
        'echo "$(cat "$z/type") $(cat "$z/temp")"; done',
        readings.cpu_temperature_c,
    ),
    "throttled": Probe("timeout 5 vcgencmd get_throttled 2>/dev/null", readings.throttled),
    "clock_hz": Probe("timeout 5 vcgencmd measure_clock arm 2>/dev/null", readings.clock_hz),
    "busy_share": Probe("head -n 1 /proc/stat; sleep 1; head -n 1 /proc/stat", readings.busy_share),
    "swap": Probe("cat /proc/swaps 2>/dev/null", readings.swap),
    "available_bytes": Probe("cat /proc/meminfo", readings.available_bytes),
    "free_disk_bytes": Probe('df -Pk "$HOME"', readings.free_bytes),
    "home_writable": Probe(
        f'd="$HOME/{FOLDER}"; while [ ! -e "$d" ]; do d=$(dirname "$d"); done; '
        '[ -w "$d" ] && echo yes || echo no',
        readings.yes,
    ),
    "time_s": Probe("date +%s", readings.integer),
    "time_synchronized": Probe(
        "timeout 5 timedatectl show -p NTPSynchronized --value 2>/dev/null", readings.yes
    ),
}
"""How it is doing."""

ACCESS: dict[str, Probe] = {
    "user": Probe("id -un", readings.line),
    "uid": Probe("id -u", readings.integer),
    "groups": Probe("id -Gn", readings.words),
    "vcgencmd": Probe("command -v vcgencmd", readings.line),
    "vcio": Probe(STATE.format("/dev/vcio", "r"), readings.access),
    "vcio_group": Probe("stat -c %G /dev/vcio 2>/dev/null", readings.line),
    "governors": Probe(f"cat {CPUS}/scaling_available_governors 2>/dev/null | head -n 1", readings.words),
    "governor_access": Probe(STATE.format(f"{CPUS}/scaling_governor", "w"), readings.access),
    "perf_paranoid": Probe("cat /proc/sys/kernel/perf_event_paranoid 2>/dev/null", readings.integer),
    "perf_units": Probe("ls /sys/bus/event_source/devices 2>/dev/null", readings.words),
    "hwmon": Probe(
        'for d in /sys/class/hwmon/hwmon*; do [ -e "$d/name" ] || continue; '
        'echo "${d##*/} $(tr " " _ < "$d/name")" '
        '$(cd "$d"; ls -d curr*_input in*_input power*_input energy*_input 2>/dev/null); done',
        readings.sensors,
    ),
    "rapl": Probe(STATE.format("/sys/class/powercap/intel-rapl:[0-9]/energy_uj", "r"), readings.access),
    "pmic_rails": Probe("timeout 5 vcgencmd pmic_read_adc 2>/dev/null", readings.pmic_rails),
    "memory_cgroup": Probe(
        "cat /sys/fs/cgroup/cgroup.controllers 2>/dev/null || cat /proc/cgroups 2>/dev/null",
        readings.memory_cgroup,
    ),
    "realtime_priority": Probe("cat /proc/self/limits 2>/dev/null", readings.realtime),
}
"""What the user that edgeopt logs in as may do there."""

PROBES: dict[str, Probe] = {**WHO, **STATES, **ACCESS}

PATIENCE_S = 90.0
"""An emulated board starts forty processes in ten seconds."""


def probe(transport: Transport) -> dict[str, Any]:
    """Every probe's answer from a board, in one round trip; it needs no runtime there.

    Raises:
        ConnectError: The board is gone.
        CommandError: Its shell does not do what a POSIX shell does.
    """
    return read(printed(transport))


def read(outputs: Mapping[str, str]) -> dict[str, Any]:
    """What boards printed, understood; a probe without output did not find its fact."""
    return {name: one.parse(outputs.get(name, "")) for name, one in PROBES.items()}


def printed(transport: Transport) -> dict[str, str]:
    """What each probe's command prints on a board.

    Raises:
        ConnectError: The board is gone.
        CommandError: Its shell does not do what a POSIX shell does.
    """
    mark = f"edgeopt-{secrets.token_hex(8)}"
    script = "; ".join(f"echo {mark}; ( {one.command}\n) </dev/null 2>/dev/null" for one in PROBES.values())
    result = transport.run(f"{script}; echo {mark}", PATIENCE_S)
    _, *outputs = result.stdout.split(f"{mark}\n")
    if len(outputs) != len(PROBES) + 1:
        last = (result.stderr.strip().splitlines() or ["nothing"])[-1]
        raise CommandError(f"the board's shell did not answer all probes; it said {last}")
    return dict(zip(PROBES, outputs[:-1], strict=True))
