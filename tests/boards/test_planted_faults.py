"""The gate sees what is planted into a quiet board's windows, and refuses next to none of the clean ones."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from benchmarks import planted_faults as planted
from benchmarks import planted_meter_lag as lag
from edgeopt.boards import profiles
from edgeopt.boards.validity import lasting_slowdown

WINDOWS = Path(__file__).parent / "data" / "windows"
BUSY = planted.load(WINDOWS / "shared-x86-vm-busy.jsonl.gz")
"""Really recorded, on a shared x86-64 virtual machine, while others kept both of its cores busy."""
JUDGE = planted.board_judge()


def test_every_planted_fault_is_detected() -> None:
    found = planted.detected(planted.quiet_board, JUDGE, seed=1)
    assert found == dict.fromkeys(planted.FAULTS, planted.TRIALS)


@pytest.mark.parametrize("effort_runs", [133, 33])
def test_clean_windows_are_hardly_ever_refused(effort_runs: int) -> None:
    rng = np.random.default_rng(2)
    windows = [planted.quiet_board(rng, runs=effort_runs) for _ in range(200)]
    assert len(planted.false_alarms(windows, JUDGE)) <= planted.MOST_FALSE_ALARMS * len(windows)


@pytest.mark.parametrize("window", BUSY)
def test_real_work_of_others_is_named_in_every_window_recorded_beside_it(window: planted.Window) -> None:
    assert not planted.is_quiet(window)
    reasons = planted.board_judge(BUSY).reasons(window)
    assert any(reason.startswith("other processes used ") for reason in reasons)


def test_clean_is_who_had_its_core_to_itself() -> None:
    window = planted.quiet_board(np.random.default_rng(3))
    shares = (1.0, 0.99, 1.0, 1.0, 1.0)
    assert planted.is_quiet(replace(window, shares=shares))
    assert not planted.is_quiet(replace(window, shares=(1.0, 0.9, 1.0, 1.0, 1.0)))


def test_recorded_windows_are_kept_as_they_were(tmp_path: Path) -> None:
    window = replace(planted.quiet_board(np.random.default_rng(4)), shares=(0.5,) * 5)
    protocol = profiles.protocols(profiles.load("rpi4"))["final"]
    planted.save(tmp_path / "w.gz", protocol, [window, window])
    for again in planted.load(tmp_path / "w.gz"):
        assert (again.rounds, again.shares) == (window.rounds, window.shares)
        for process, kept in zip(window.processes, again.processes, strict=True):
            assert kept == pytest.approx(process, abs=1e-3)


@pytest.mark.long
@pytest.mark.parametrize("plant", [*lag.PLANTS, *lag.CLEAN])
def test_meters_that_lag_are_found_out_and_good_ones_are_left_alone(plant: str) -> None:
    """In 50 seeded trials each; `test_metering` takes a few of them."""
    right = sum(lag.trial(plant, seed).right for seed in range(planted.TRIALS))
    assert right >= planted.TRIALS * (1 if plant in lag.PLANTS else 1 - planted.MOST_FALSE_ALARMS)


def test_of_this_machine_too_when_nobody_shared_its_core(home: Path) -> None:
    """Windows recorded on a shared virtual machine, idle."""
    (home / ".config" / "edgeopt" / "devices" / "local.toml").unlink()  # the tests' own, which tolerates all
    windows = planted.load(WINDOWS / "shared-x86-vm-quiet.jsonl.gz")
    clean = [window for window in windows if planted.is_quiet(window)]
    judge = planted.local_judge(windows)
    found = planted.detected(lambda rng: clean[int(rng.integers(len(clean)))], judge, 0)
    assert set(found.values()) == {planted.TRIALS}
    assert not planted.false_alarms(windows, judge)
    assert {lasting_slowdown(window.processes) for window in windows} == {0.0}
    assert max(lasting_slowdown([one]) for window in windows for one in window.processes) < 0.24


@pytest.mark.long
@pytest.mark.parametrize("seed", range(20))
def test_however_the_faults_are_drawn(seed: int, home: Path) -> None:
    (home / ".config" / "edgeopt" / "devices" / "local.toml").unlink()
    windows = planted.load(WINDOWS / "shared-x86-vm-quiet.jsonl.gz")
    clean = [window for window in windows if planted.is_quiet(window)]
    judge = planted.local_judge(windows)
    found = planted.detected(lambda rng: clean[int(rng.integers(len(clean)))], judge, seed)
    assert set(found.values()) == {planted.TRIALS}
