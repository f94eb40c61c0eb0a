"""Before the application starts: what serves is undamaged and fit, or another version serves."""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.field.device.agents import Agent
from tests.field.device.packages import Vendor


@pytest.fixture
def two(agent: Agent, vendor: Vendor, tmp_path: Path) -> Agent:
    """A device with versions 1 and 2, of which 2 serves."""
    for counter in (1, 2):
        agent.good("install", vendor.package(tmp_path / f"{counter}.edgepkg", counter))
    return agent


def damage(path: Path) -> None:
    content = bytearray(path.read_bytes())
    content[1] ^= 1
    path.chmod(0o644)
    path.write_bytes(content)


@pytest.mark.parametrize("name", ["model.onnx", "session.json", "manifest.json", "metadata/targets.json"])
def test_a_damaged_version_is_left_for_the_one_before(two: Agent, name: str) -> None:
    assert two.good("boot")["changed"] is False
    damage(two.root / "current" / name)
    answer = two.good("boot")
    assert (answer["changed"], answer["counter"], answer["previous"]) == (True, 1, 2)
    assert two.model == {"add": 1}
    assert two.good("boot")["changed"] is False


def test_a_damaged_version_is_repaired_by_installing_it_again(two: Agent, tmp_path: Path) -> None:
    damage(two.root / "current" / "model.onnx")
    answer = two.good("install", tmp_path / "2.edgepkg")
    assert (answer["counter"], answer["previous"], two.model) == (2, 1, {"add": 2})


def lose_link(root: Path) -> None:
    (root / "current").unlink()


def lose_state(root: Path) -> None:
    (root / "state.json").unlink()


def ruin_state(root: Path) -> None:
    (root / "state.json").write_bytes(b"\0" * 512)


@pytest.mark.parametrize("ruin", [lose_link, lose_state, ruin_state])
def test_what_a_storage_fault_took_is_found_again(two: Agent, ruin: Callable[[Path], None]) -> None:
    ruin(two.root)
    answer = two.good("boot")
    assert (answer["counter"], answer["state"]) == (2, "good")
    assert two.good("status")["highest_counter"] == 2


def test_if_nothing_is_left_it_says_so(two: Agent) -> None:
    for version in (two.root / "versions").iterdir():
        damage(version / "model.onnx")
    answer = two.do("boot")
    assert answer.code == 5
    assert "no other version can" in answer["error"]["message"]


def on_trial(agent: Agent, starts: list[float]) -> None:
    """As if its installer was killed while it watched over what serves."""
    path = agent.root / "state.json"
    state = json.loads(path.read_text())
    version = (agent.root / "current").readlink().name
    previous = next(name for name in state["versions"] if name != version)
    state["versions"][version]["state"] = "trying"
    state["trying"] = {"version": version, "previous": previous, "told": False}
    path.write_text(json.dumps({**state, "starts": starts}))


def test_three_restarts_in_ten_minutes_take_a_version_on_trial_back(two: Agent) -> None:
    two.wishes(trial_s=60)
    on_trial(two, [])
    for _ in range(3):  # the first is the device's own, so two were restarts
        assert two.good("boot")["counter"] == 2
    answer = two.good("boot")
    assert (answer["counter"], answer["changed"]) == (1, True)
    assert "3 times" in two.good("status")["blocked"][0]["reason"]


def test_restarts_that_are_long_ago_do_not_count(two: Agent) -> None:
    two.wishes(trial_s=60)
    on_trial(two, [time.time() - 700] * 8)
    assert two.good("boot")["counter"] == 2


def test_a_trial_whose_installer_was_killed_goes_on(two: Agent) -> None:
    two.wishes(trial_s=0.1, health_command="true", on_switch="echo told >> told")
    on_trial(two, [])
    assert two.good("boot")["state"] == "trying"
    assert two.good("watch")["state"] == "good"
    assert (two.root / "told").read_text() == "told\n"


def test_a_trial_whose_installer_was_killed_can_fail(two: Agent) -> None:
    two.wishes(health_command="false")
    on_trial(two, [])
    answer = two.do("watch")
    assert (answer.code, answer["counter"], two.serving) == (5, 1, 1)


def test_without_a_health_check_a_version_that_boots_is_good(two: Agent) -> None:
    on_trial(two, [])
    assert two.good("boot")["state"] == "good"


def test_a_device_without_anything_boots(tmp_path: Path) -> None:
    agent = Agent(tmp_path / "nothing")
    assert agent.good("boot")["state"] == "none"
    assert agent.good("watch")["state"] == "none"
    assert not agent.root.exists()


def test_a_wrong_wish_keeps_nothing_from_booting(two: Agent) -> None:
    two.wishes(nonsense=1)
    damage(two.root / "current" / "model.onnx")
    assert two.good("boot")["counter"] == 1
