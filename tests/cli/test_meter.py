"""`edgeopt boards meter`, on this machine with a stand-in for its meter."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from edgeopt.resources import resource
from tests.cli.conftest import Ran

STANDIN = Path(__file__).parent.parent / "boards" / "standin_meter.py"


@pytest.fixture
def log(tmp_path: Path) -> Iterator[Path]:
    """What the stand-in writes: 2 W, and 5 W while a process below this one runs."""
    file = tmp_path / "meter.csv"
    process = subprocess.Popen([sys.executable, STANDIN, file, str(os.getpid()), "0"])
    while not file.is_file() or file.read_text().count("\n") < 2:
        time.sleep(0.05)
    yield file
    process.kill()
    process.wait()


def write(folder: Path, file: Path, idle_w: float, stress_w: float) -> None:
    """A board that is this machine, with a meter, of a device whose power is known."""
    fact = 'unit = "W", source = "test", confidence = "low" }'
    devices = Path(os.environ["EDGEOPT_HOME"], "devices")
    devices.mkdir(parents=True, exist_ok=True)
    (devices / "bench.toml").write_text(
        (resource("device_profiles") / "local.toml").read_text()
        + f"\n[power]\nidle_w = {{ value = {idle_w}, {fact}\nstress_w = {{ value = {stress_w}, {fact}\n"
    )
    (folder / "boards.toml").write_text(
        '[board.this]\ndevice = "bench"\nurl = "local"\n'
        f'[board.this.meter]\nkind = "csv"\naddress = "{file}"\n'
    )


def test_a_meter_is_compared_with_the_profile(run: Callable[..., Ran], folder: Path, log: Path) -> None:
    write(folder, log, 1.8, 5.5)
    said = run("boards", "meter", "this", "--json").document
    assert (said["kind"], said["source"], said["profile_idle_w"]) == ("csv", "meter", 1.8)
    assert said["idle_w"] == pytest.approx(2.0, abs=0.01)
    assert said["stress_w"] == pytest.approx(5.0, abs=0.01)
    assert said["samples"] > 100
    assert 0 < said["reader_cpu"] < 0.2


def test_a_meter_that_is_far_off_is_exit_4(run: Callable[..., Ran], folder: Path, log: Path) -> None:
    write(folder, log, 0.2, 0.5)
    ran = run("boards", "meter", "this")
    assert ran.code == 4
    assert "shows 2 W idle, its profile says 0.2 W: more than 2 times off" in ran.err


def test_a_meter_without_its_shunt_is_refused_before_anything_is_connected(
    run: Callable[..., Ran], folder: Path
) -> None:
    (folder / "boards.toml").write_text(
        '[board.far]\ndevice = "rpi4"\nurl = "ssh://nowhere.invalid"\n'
        '[board.far.meter]\nkind = "hwmon"\naddress = "1-0040"\n'
    )
    ran = run("boards", "meter", "far")
    assert ran.code == 2
    assert "board 'far': a hwmon meter needs shunt_ohm: the kernel assumes 0.01" in ran.err


def test_a_board_without_meter_and_model_is_told_where_to_say_it(
    run: Callable[..., Ran], folder: Path
) -> None:
    (folder / "boards.toml").write_text('[board.this]\ndevice = "local"\nurl = "local"\n')
    ran = run("boards", "meter", "this")
    assert ran.code == 2
    assert "[board.this.meter]" in ran.err


def test_a_meters_host_that_is_down_is_named_as_such(run: Callable[..., Ran], folder: Path) -> None:
    (folder / "boards.toml").write_text(
        '[board.this]\ndevice = "local"\nurl = "local"\n'
        '[board.this.meter]\nkind = "rapl"\nhost = "ssh://lab@127.0.0.1:1"\n'
    )
    ran = run("boards", "meter", "this")
    assert ran.code == 4
    assert ran.err.startswith("error: the meter's host ssh://lab@127.0.0.1:1: cannot connect to")
