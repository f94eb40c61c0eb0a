"""The validity gate of a real runner: it sees a stand-in for a Pi's sensors, and real load.

`/sys/class/thermal`, the kernel's clocks and `vcgencmd` are files of the test, mounted in a namespace of the
runner's own; the loop, the load and the models are real.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from edgeopt.boards.metering.link import Beside
from edgeopt.boards.runner import RunnerBoard
from edgeopt.boards.transports.local import LocalTransport
from edgeopt.boards.validity import Speed, Thresholds
from edgeopt.core.errors import CandidateFailed, MeasurementInvalid
from edgeopt.core.measurement import Measurement, Protocol
from edgeopt.core.progress import Observer
from tests.boards.runners import runner_module
from tests.boards.test_answers import model, process
from tests.boards.test_validity import state
from tests.boards.tiny import FEEDS, artifact, chain

SCREEN = Protocol("screen", 1, 8, 0.05, 0.05, None, 60.0)
LONGER = Protocol("screen", 1, 8, 1.0, 0.25, None, 60.0)
CPU = Path("/sys/devices/system/cpu")

ENTER = """#!/bin/sh
export PATH="{folder}/bin:$PATH"
exec unshare --user --map-root-user --mount sh -c '
mount --bind {folder}/thermal /sys/class/thermal && mount --bind {folder}/cpu {cpu} || exit
exec {python} "$@"' sh "$@"
"""
VCGENCMD = """#!/bin/sh
cat {folder}/$1
if [ -f {folder}/$1.next ]; then mv {folder}/$1.next {folder}/$1; fi
"""


class Sensors:
    """What a board's sensors say: each is a file, which may change at any time."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        zone = folder / "thermal" / "thermal_zone0"
        for made in (zone, folder / "bin", folder / "cpu"):
            made.mkdir(parents=True)
        (zone / "type").write_text("cpu-thermal\n")
        self.python = self._program("enter", ENTER.format(folder=folder, cpu=CPU, python=sys.executable))
        self._program("bin/vcgencmd", VCGENCMD.format(folder=folder))
        for name in ("online", "possible", "present"):
            shutil.copyfile(CPU / name, folder / "cpu" / name)
        for core in range(os.cpu_count() or 1):
            (folder / "cpu" / f"cpu{core}" / "cpufreq").mkdir(parents=True)
        self.heat(50.0)
        self.say("get_throttled", "throttled=0x0")
        self.say("measure_clock", "frequency(48)=1500345728")

    def heat(self, temperature_c: float) -> None:
        (self.folder / "thermal" / "thermal_zone0" / "temp").write_text(f"{temperature_c * 1000:.0f}\n")

    def say(self, question: str, answer: str, once: str | None = None) -> None:
        """What the firmware answers; `once` the first time."""
        if once is not None:
            (self.folder / f"{question}.next").write_text(answer + "\n")
        (self.folder / question).write_text((answer if once is None else once) + "\n")

    def clock(self, hz: float) -> None:
        """What the kernel says that all cores run at."""
        for name in ("scaling_cur_freq", "scaling_max_freq", "cpuinfo_max_freq"):
            for core in (self.folder / "cpu").glob("cpu*/cpufreq"):
                (core / name).write_text(f"{hz / 1000:.0f}\n")

    def _program(self, name: str, text: str) -> Path:
        path = self.folder / name
        path.write_text(text)
        path.chmod(0o755)
        return path


@pytest.fixture
def sensors(tmp_path: Path) -> Sensors:
    probe = ["unshare", "--user", "--map-root-user", "--mount", "true"]
    if not shutil.which("unshare") or subprocess.run(probe, capture_output=True, check=False).returncode:
        pytest.skip("this machine lets nobody make namespaces")
    return Sensors(tmp_path / "sensors")


class Opened(Observer):
    """Opens boards, and hears what they tell."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.told: list[str] = []
        self.boards: list[RunnerBoard] = []
        self.hear: Callable[[str], object] = self.told.append

    def __call__(self, python: Path | None = None, **limits: Any) -> RunnerBoard:
        thresholds = Thresholds(**{"tries": 3, "cooldown_s": 0.2, **limits})
        transport = LocalTransport(str(python or sys.executable), self.folder)
        opened = RunnerBoard(
            "pi",
            "local",
            lambda: transport,
            thresholds=thresholds,
            observer=self,
        )
        self.boards.append(opened)
        return opened

    def announce(self, line: str) -> None:
        self.hear(line)


@pytest.fixture
def opened(tmp_path: Path) -> Iterator[Opened]:
    made = Opened(tmp_path / "board")
    yield made
    for board in made.boards:
        board.close()


def only(results: list[Measurement | CandidateFailed]) -> Measurement:
    (result,) = results
    assert isinstance(result, Measurement), result
    return result


def test_a_hot_board_is_left_to_cool_and_then_measured(sensors: Sensors, opened: Opened, tmp_path) -> None:
    sensors.heat(81.5)
    board = opened(sensors.python, max_temperature_c=75, cooldown_s=60.0)

    def cooled(line: str) -> None:
        opened.told.append(line)
        sensors.heat(60.0)

    opened.hear = cooled
    result = only(board.measure([artifact(tmp_path, chain(2))], FEEDS, SCREEN))
    assert result.validity is None
    assert (result.temperature_start_c, result.temperature_end_c) == (60.0, 60.0)
    assert opened.told == [
        "pi: it is at 81.5 °C, 75 °C is the limit; try 2 of 3, after a pause of up to 60 s"
    ]


def test_a_sensor_that_says_nothing_while_a_board_cools_is_asked_again(
    sensors: Sensors, opened: Opened, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("edgeopt.boards.runner.COOLING_POLL_S", 0.1)
    sensors.heat(81.5)
    board = opened(sensors.python, max_temperature_c=75, cooldown_s=60.0)

    def fail_for_a_second(_: str) -> None:
        (sensors.folder / "thermal" / "thermal_zone0" / "temp").unlink()
        threading.Timer(1.0, sensors.heat, (60.0,)).start()

    opened.hear = fail_for_a_second
    result = only(board.measure([artifact(tmp_path, chain(2))], FEEDS, SCREEN))
    assert result.temperature_start_c == 60.0


def test_a_board_that_stays_hot_cannot_be_measured_and_runs_nothing(
    sensors: Sensors, opened: Opened, tmp_path: Path
) -> None:
    sensors.heat(81.5)
    board = opened(sensors.python, max_temperature_c=75)
    with pytest.raises(MeasurementInvalid, match=r"pi cannot be measured: it is at 81\.5 °C.*, in 3 tries"):
        board.measure([artifact(tmp_path, chain(2))], FEEDS, Protocol("final", 1, 10**9, 1e6, 1.0, None, 9.0))
    assert len(opened.told) == 2


def test_throttle_bits_refuse(sensors: Sensors, opened: Opened, tmp_path: Path) -> None:
    board = opened(sensors.python)
    sensors.say("get_throttled", "throttled=0x50005")
    with pytest.raises(MeasurementInvalid, match="under-voltage, throttled"):
        board.measure([artifact(tmp_path, chain(2))], FEEDS, SCREEN)


def test_a_sticky_bit_that_comes_up_is_seen_and_an_old_one_is_not(
    sensors: Sensors, opened: Opened, tmp_path: Path
) -> None:
    board = opened(sensors.python)
    sensors.say("get_throttled", "throttled=0x20000", once="throttled=0x0")
    result = only(board.measure([artifact(tmp_path, chain(2))], FEEDS, SCREEN))
    assert [line.split(";")[0] for line in opened.told] == ["pi: it was throttled meanwhile: clock capped"]
    assert result.validity is None
    assert result.throttled is False


def test_a_firmware_that_runs_the_core_slower_than_the_kernel_says_is_caught(
    sensors: Sensors, opened: Opened, tmp_path: Path
) -> None:
    sensors.clock(0.7e9)  # this machine is faster, so the loop has no objection
    sensors.say("measure_clock", "frequency(48)=600117184")
    board = opened(sensors.python, min_clock_ratio=0.98)
    with pytest.raises(MeasurementInvalid, match=r"600 MHz where the kernel says 700: 0\.86") as refusal:
        board.measure([artifact(tmp_path, chain(2))], FEEDS, SCREEN)
    assert refusal.value.exit_code == 4
    board.close()
    tolerant = opened(sensors.python, min_clock_ratio=0.8)
    only(tolerant.measure([artifact(tmp_path, chain(2))], FEEDS, SCREEN))


def test_a_kernel_that_says_twice_the_clock_is_caught_by_the_loop_alone(
    sensors: Sensors, opened: Opened, tmp_path: Path
) -> None:
    spin = runner_module().spin(0)
    if spin["kind"] != "adds":
        pytest.skip("this processor's clock cannot be told")
    sensors.clock(2.2 * spin["per_s"])
    (sensors.folder / "bin" / "vcgencmd").unlink()
    board = opened(sensors.python, min_clock_ratio=0.8)
    with pytest.raises(MeasurementInvalid, match=r"it computes at \d+ MHz where the kernel says \d+: 0\.4"):
        board.measure([artifact(tmp_path, chain(2))], FEEDS, SCREEN)


def test_a_board_that_became_slower_than_it_was_is_caught(opened: Opened, tmp_path: Path) -> None:
    board = opened(min_clock_ratio=0.8)
    assert board._speed
    board._speed = Speed(board._speed.kind, 2 * board._speed.per_s)  # it was twice as fast when it was cool
    with pytest.raises(MeasurementInvalid, match=r"it computes at 0\.[45]\d times its speed when cool"):
        board.measure([artifact(tmp_path, chain(2))], FEEDS, SCREEN)


def test_a_busy_process_is_other_load(opened: Opened, tmp_path: Path) -> None:
    hog = subprocess.Popen([sys.executable, "-c", "while True: pass"])
    try:
        board = opened(max_other_cpu=0.1 / (os.cpu_count() or 1), tries=1)
        with pytest.raises(MeasurementInvalid, match=r"other processes used .* of its cores"):
            board.measure([artifact(tmp_path, chain(2))], FEEDS, LONGER)
    finally:
        hog.kill()
        hog.wait()


class Scripted(RunnerBoard):
    """A board whose next answers are given."""

    answers: list[dict[str, Any]]

    def _measured(self, *_: Any) -> tuple[dict[str, Any], Beside]:
        return self.answers.pop(0), Beside(None)


STEADY, DRIFTING = [10.0] * 30, [10.0] * 15 + [20.0] * 15


def scripted(opened: Opened, *tries: tuple[list[float], ...]) -> Scripted:
    transport = LocalTransport(sys.executable, opened.folder)
    limits = Thresholds(max_drift=0.03, tries=len(tries))
    board = Scripted("pi", "local", lambda: transport, observer=opened, thresholds=limits)
    board.answers = [
        {"models": [model(process(latencies)) for latencies in each], "rounds": [state(), state()]}
        for each in tries
    ]
    opened.boards.append(board)
    return board


def test_a_candidate_that_alone_is_unsteady_fails_alone(opened: Opened, tmp_path: Path) -> None:
    board = scripted(opened, (STEADY, DRIFTING), (STEADY, DRIFTING))
    control, other = board.measure(
        [artifact(tmp_path, chain(2)), artifact(tmp_path, chain(3))], FEEDS, SCREEN
    )
    assert isinstance(control, Measurement)
    assert isinstance(other, CandidateFailed)
    assert other.message == (
        "cannot be measured: its latency drifted by 100.0% within a process, 3.0% is allowed, in 2 tries"
    )


def test_a_control_that_is_unsteady_is_the_boards_fault(opened: Opened, tmp_path: Path) -> None:
    board = scripted(opened, (DRIFTING, STEADY), (DRIFTING, STEADY))
    with pytest.raises(MeasurementInvalid, match=r"drifted by 100\.0%"):
        board.measure([artifact(tmp_path, chain(2)), artifact(tmp_path, chain(3))], FEEDS, SCREEN)


def test_a_second_try_that_is_steady_counts(opened: Opened, tmp_path: Path) -> None:
    board = scripted(opened, (DRIFTING, STEADY), (STEADY, STEADY))
    both = board.measure([artifact(tmp_path, chain(2)), artifact(tmp_path, chain(3))], FEEDS, SCREEN)
    assert all(isinstance(one, Measurement) and one.validity is None for one in both)
    assert len(opened.told) == 1


def test_the_loop_tells_the_clock_and_leaves_the_runner_where_it_was() -> None:
    runner, cores = runner_module(), os.sched_getaffinity(0)
    first, second = runner.spin(min(cores)), runner.spin(min(cores))
    assert os.sched_getaffinity(0) == cores
    assert second["per_s"] == pytest.approx(first["per_s"], rel=0.25)
    if first["kind"] == "adds":
        assert 4e8 < first["per_s"] < 7e9
    runner.additions = lambda: None
    assert runner.spin(min(cores))["kind"] == "hashes"
