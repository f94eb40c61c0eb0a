"""The agent is killed at any step at which it changes a file: a verified version serves all the same.

What a killed process has written is not lost; that a machine loses it is the matter of `test_power_cuts`.
"""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

import pytest

from tests.faults.sample import sampled
from tests.field.device.agents import Agent, module
from tests.field.device.packages import Vendor

COUNTED = str(Path(__file__).parent / "counted.py")
POINTS = {"install": 64, "rollback": 24}
TASKS = [f"{task} at {n}/{points}" for task, points in POINTS.items() for n in range(points)]


@pytest.fixture(scope="module")
def prepared(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a device on which 1 and 2 are installed, and package 3, written in pieces."""
    folder = tmp_path_factory.mktemp("killed")
    agent = Agent(folder / "device").trusts(Vendor())
    for counter in (1, 2, 3):
        package = Vendor().package(folder / f"{counter}.edgepkg", counter, pad=600_000)
        if counter < 3:
            agent.good("install", package)
    return folder


@pytest.fixture(scope="module")
def steps(prepared: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, int]:
    """How many steps each task has, undisturbed."""
    found = {}
    for task in POINTS:
        folder = tmp_path_factory.mktemp(task)
        agent = copied(prepared, folder / "device")
        log = folder / "log"
        agent.before = (COUNTED, str(log), "count")
        agent.good(*words(task, prepared))
        found[task] = log.stat().st_size
    return found


def words(task: str, prepared: Path) -> list[object]:
    return ["install", prepared / "3.edgepkg"] if task == "install" else ["rollback", "--from", "2"]


def copied(prepared: Path, folder: Path) -> Agent:
    """A device of its own, whose files are as related as they were."""
    subprocess.run(["cp", "-a", prepared / "device", folder], check=True)
    return Agent(folder)


def test_there_are_more_steps_than_points(steps: dict[str, int]) -> None:
    assert steps["install"] > 64
    assert steps["rollback"] > 10


@pytest.mark.parametrize("point", sampled(TASKS))
def test_after_a_kill_a_verified_version_serves(
    point: str, prepared: Path, steps: dict[str, int], tmp_path: Path
) -> None:
    task, _, share = point.partition(" at ")
    number, points = map(int, share.split("/"))
    agent = copied(prepared, tmp_path / "device")
    agent.before = (COUNTED, str(1 + number * steps[task] // points), "kill")
    killed = subprocess.run(
        agent.command(*words(task, prepared)), env=agent.environment, capture_output=True, check=False
    )
    assert killed.returncode == -9, killed
    agent.before = ()
    there = {2, 3} if task == "install" else {1, 2}

    device = module().Device(agent.root)  # already before anything has been repaired
    assert device.is_intact(device.current)
    booted = agent.good("boot")
    assert booted["counter"] in there
    assert booted["state"] == "good"
    assert device.is_intact(device.current)
    assert agent.model == {"add": booted["counter"]}

    again = agent.good(*words(task, prepared))
    assert again["counter"] == (3 if task == "install" else 1)
    agent.good("gc")
    assert [path.name for path in (agent.root / "staging").iterdir() if path.name.startswith("trash-")] == []
    assert list((agent.root / "objects").glob("*.part")) == []
    shutil.rmtree(agent.root)
