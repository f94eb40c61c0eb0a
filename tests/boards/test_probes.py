"""What boards print is understood; each file of `data/probes` is a test by being there."""

from __future__ import annotations

import json
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from edgeopt.boards import readings
from edgeopt.boards.address import Address
from edgeopt.boards.facts import probed
from edgeopt.boards.identity import accepting
from edgeopt.boards.probes import PROBES, printed, probe, read
from edgeopt.boards.readings import without_serial_numbers
from edgeopt.boards.transports import CommandResult, local
from edgeopt.core.errors import CommandError
from tests.boards.runners import runner_module
from tests.sshd import Sshd

FILES = sorted((Path(__file__).parent / "data" / "probes").glob("*.json"))
HOWS = {"written after documentation, not recorded", "recorded"}


def board(file: Path) -> dict[str, Any]:
    return dict(json.loads(file.read_text()))


@pytest.mark.parametrize("file", FILES, ids=lambda file: file.stem)
def test_what_a_board_prints_gives_its_facts_and_the_devices_that_it_can_be_used_as(file: Path) -> None:
    known = board(file)
    assert set(known) == {"how", "sources", "outputs", "expected", "devices"}
    assert known["how"] in HOWS
    assert known["sources"]
    assert set(known["outputs"]) == set(PROBES)
    found = read(known["outputs"])
    facts = probed(found)
    for name, expected in known["expected"].items():
        value = found[name] if name in found else getattr(facts, name)
        assert (list(value) if isinstance(value, tuple) else value) == expected, name
    assert accepting(facts) == sorted({"local", *known["devices"]})


def test_there_are_boards_of_every_kind_that_is_promised() -> None:
    assert len(FILES) >= 20
    assert sum(board(file)["how"] == "recorded" for file in FILES) >= 2


def test_a_recording_holds_no_serial_number() -> None:
    for file in FILES:
        for output in board(file)["outputs"].values():
            assert without_serial_numbers(output) == output


@settings(max_examples=60, deadline=None)
@given(
    text=st.text()
    | st.from_regex(r"throttled=0x[0-9a-f]*|MemTotal: *[0-9]* kB|-?[0-9 ]+|hwmon[0-9] [a-z ]*")
    | st.from_regex(r"(cpu( +[0-9]{1,9}){8}\n){2}|Filename.*\n(/dev/\S+ file [0-9²]+ [0-9²]+ -2\n)*")
)
def test_no_output_raises(text: str) -> None:
    for one in PROBES.values():
        json.dumps(one.parse(text))


def test_probes_run_on_this_machine() -> None:
    with closing(local.connect(Address.parse("local"))) as transport:
        found = probe(transport)
    assert set(found) == set(PROBES)
    assert found["cores"] >= 1
    assert found["ram_bytes"] > 2**28
    assert found["available_bytes"] < found["ram_bytes"]
    assert 0 <= found["busy_share"] <= 1
    assert found["free_disk_bytes"] > 0
    assert found["userland_bits"] == 64
    assert found["home_writable"] is True


def test_probes_run_over_ssh_in_one_round_trip(sshd: Sshd) -> None:
    from edgeopt.boards.transports import ssh

    with closing(ssh.connect(Address.parse(sshd.url))) as transport:
        over_ssh = probe(transport)
    with closing(local.connect(Address.parse("local"))) as transport:
        here = probe(transport)
    same = ("machine", "kernel_build", "cores", "cpuinfo", "ram_bytes", "os_release", "hwmon", "user")
    assert {name: over_ssh[name] for name in same} == {name: here[name] for name in same}


def test_a_shell_that_answers_too_little_is_refused() -> None:
    class Restricted(local.LocalTransport):
        def run(self, command: str, timeout_s: float = 30.0) -> CommandResult:
            return super().run("echo This account is not available. >&2; exit 1")

    with pytest.raises(CommandError, match="it said This account is not available"):
        printed(Restricted("/bin/false", Path()))


def test_the_runner_takes_the_same_thermal_zones_for_the_cpus() -> None:
    assert runner_module().CPU_ZONES == readings.CPU_ZONES


@pytest.mark.parametrize(
    ("name", "text", "expected"),
    [
        ("throttled", "error=1 error_msg=\"Command not registered\"\n", None),
        ("busy_share", "cpu 1 2 3 4 5 6 7 8 9 0\n", None),
        ("busy_share", "cpu 0 0 0 90 10 0 0 0 0 0\ncpu 30 0 0 150 20 0 0 0 0 0\n", 0.3),
        ("temperature_c", "ddr-thermal 50000\ngpu-thermal 51000\n", None),
        ("temperature_c", "package-thermal 45300\nbigcore0-thermal 46200\nnpu-thermal 43400\n", 45.3),
        ("swap", "", None),
        ("swap", "Filename\tType\tSize\tUsed\tPriority\n/dev/zram0 partition 8 4 5\n/var/swap file 2 0 -2\n",
         {"total_bytes": 10240, "used_bytes": 4096, "zram_bytes": 8192}),
        ("free_disk_bytes", "Filesystem 1K Used Available Capacity Mounted\n/dev/sda 9 9 0 100% /\n", 0),
        ("free_disk_bytes", "df: /home/pi: No such file or directory\n", None),
        ("memory_cgroup", "#subsys_name\thierarchy\tnum_cgroups\tenabled\nmemory\t0\t90\t0\n", False),
        ("memory_cgroup", "cpu io memory pids\n", True),
        ("memory_cgroup", "cpu io pids\n", False),
        ("memory_cgroup", "", None),
        ("realtime_priority", "Max realtime priority     unlimited            unlimited            \n", 99),
        ("rapl", "denied\nopen\n", "open"),
        ("rapl", "", None),
        ("governor", "performance\nschedutil\nperformance\n", "performance, schedutil"),
        ("time_synchronized", "n/a\n", None),
    ],
)  # fmt: skip
def test_odd_outputs(name: str, text: str, expected: object) -> None:
    assert PROBES[name].parse(text) == (pytest.approx(expected) if isinstance(expected, float) else expected)
