"""Waves one after the other, stopped and resumed; what happens on a device is `test_deploy`'s."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Collection
from pathlib import Path

import pytest

from edgeopt.field import seen
from edgeopt.field.journal import Journal
from edgeopt.field.many import Stop, each
from edgeopt.field.outcome import Outcome
from edgeopt.field.rollout import Report, roll_out
from edgeopt.field.watching import FleetObserver
from edgeopt.field.waves import plan

FLEET = [f"pi-{number}" for number in range(50)]


class Devices:
    """A fleet in which some fail and some are silent; knows who was reached."""

    def __init__(self, failing: Collection[str] = (), silent: Collection[str] = ()) -> None:
        self.failing, self.silent = set(failing), set(silent)
        self.reached: list[str] = []
        self.at_once = self.most_at_once = 0
        self.lock = threading.Lock()
        self.pause_s = 0.0

    def deliver(self, name: str) -> Outcome:
        with self.lock:
            self.reached.append(name)
            self.at_once += 1
            self.most_at_once = max(self.most_at_once, self.at_once)
        time.sleep(self.pause_s)
        with self.lock:
            self.at_once -= 1
        if name in self.silent:
            return Outcome(name, "unreached", "no route to host", kind="connect", exit_code=4)
        if name in self.failing:
            return Outcome(name, "failed", "its outputs are wrong", kind="selftest", exit_code=5)
        return Outcome(name, "updated", counter=2)


def rolled(devices: Devices, file: Path, canaries: int = 1, rate: float = 0.1, at_once: int = 4) -> Report:
    waves = plan(FLEET, canaries, "10%,50%,100%")
    with Journal(file, {}) as journal:
        return roll_out(waves, devices.deliver, journal, rate, at_once, FleetObserver(), Stop())


def test_a_good_release_reaches_all(tmp_path: Path) -> None:
    devices = Devices()
    report = rolled(devices, tmp_path / "j")
    assert (report.verdict, report.exit_code) == ("complete", 0)
    assert sorted(devices.reached) == sorted(FLEET)
    assert [row["wave"] for row in report.devices()] == [1] + [2] * 4 + [3] * 20 + [4] * 25


def test_a_canary_stops_a_bad_release(tmp_path: Path) -> None:
    devices = Devices(failing=FLEET)
    report = rolled(devices, tmp_path / "j", canaries=2, at_once=1)
    assert (report.verdict, report.exit_code) == ("stopped", 5)
    assert devices.reached == FLEET[:1]
    assert "its outputs are wrong" in str(report.reason)
    assert [row["state"] for row in report.devices()] == ["failed"] + ["pending"] * 49


def test_devices_that_are_broken_in_themselves_do_not_stop_a_good_release(tmp_path: Path) -> None:
    report = rolled(Devices(failing=["pi-3", "pi-20", "pi-40"]), tmp_path / "j")
    assert (report.verdict, report.exit_code) == ("incomplete", 5)
    assert sum(row["state"] == "updated" for row in report.devices()) == 47


def test_silent_devices_are_listed_and_tried_again(tmp_path: Path) -> None:
    seen.note("pi-7", 1, "good")
    devices = Devices(silent=["pi-7", "pi-30"])
    report = rolled(devices, tmp_path / "j")
    assert (report.verdict, report.exit_code) == ("incomplete", 4)
    rows = {row["name"]: row for row in report.devices()}
    assert rows["pi-7"]["last_seen"]["counter"] == 1
    assert rows["pi-30"]["last_seen"] is None
    devices.silent, devices.reached = set(), []
    assert rolled(devices, tmp_path / "j").verdict == "complete"
    assert sorted(devices.reached) == ["pi-30", "pi-7"]


def test_what_is_stopped_stays_stopped_until_it_is_retried(tmp_path: Path) -> None:
    devices = Devices(failing=FLEET)
    rolled(devices, tmp_path / "j")
    devices.failing, devices.reached = set(), []
    assert rolled(devices, tmp_path / "j").verdict == "stopped"
    assert devices.reached == []
    with Journal(tmp_path / "j", {}) as journal:
        journal.forget(["pi-0"])
    assert rolled(devices, tmp_path / "j").verdict == "complete"


def test_one_that_dies_goes_on_where_it_was(tmp_path: Path) -> None:
    class Died(BaseException):
        pass

    devices = Devices()
    done: list[str] = []

    def deliver(name: str) -> Outcome:
        if len(done) >= 17:
            raise Died
        done.append(name)
        return devices.deliver(name)

    waves = plan(FLEET, 1, "10%,50%,100%")
    with Journal(tmp_path / "j", {}) as journal, pytest.raises(Died):
        roll_out(waves, deliver, journal, 0.1, 1, FleetObserver(), Stop())
    assert len(done) == 17
    assert rolled(devices, tmp_path / "j").verdict == "complete"
    assert sorted(devices.reached) == sorted(FLEET)  # each once


def test_no_more_at_once_than_allowed_and_not_fewer(tmp_path: Path) -> None:
    devices = Devices()
    devices.pause_s = 0.02
    rolled(devices, tmp_path / "j", at_once=5)
    assert devices.most_at_once == 5


def test_what_has_begun_is_brought_to_its_end(tmp_path: Path) -> None:
    devices = Devices(failing=FLEET)
    devices.pause_s = 0.05
    report = rolled(devices, tmp_path / "j", canaries=4, at_once=4)
    assert report.verdict == "stopped"
    assert len(devices.reached) == sum(row["state"] == "failed" for row in report.devices())


def test_an_interruption_cuts_what_is_open() -> None:
    cut = threading.Event()

    class Connection:
        def close(self) -> None:
            cut.set()

    stop = Stop()

    def work(number: int) -> int:
        if number == 0:
            return 0
        with stop.cutting(Connection()):  # type: ignore[arg-type]
            assert cut.wait(10)
        return number

    def take(_: int) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        each(work, range(100), 3, stop, take)
    assert stop.is_set()


def test_an_error_of_this_machine_ends_all(tmp_path: Path) -> None:
    def deliver(_: str) -> Outcome:
        raise OSError("the package is gone")

    run: Callable[[], Report] = lambda: roll_out(  # noqa: E731
        plan(FLEET, 1, "100%"), deliver, journal, 0.1, 3, FleetObserver(), Stop()
    )
    with Journal(tmp_path / "j", {}) as journal, pytest.raises(OSError, match="gone"):
        run()
