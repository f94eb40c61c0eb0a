"""What was measured on one unit goes before the profile, for that unit alone."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from edgeopt.boards import overlay, profiles
from edgeopt.core.errors import ConfigError, EdgeoptError
from edgeopt.core.profile import Fact

COPIED = Fact(2.7, "GB/s copied", 'measured "here"', "high")


@pytest.fixture(autouse=True)
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("EDGEOPT_HOME", str(tmp_path / "home"))
    return tmp_path / "home"


def test_facts_of_a_board_are_merged_for_that_board_alone() -> None:
    overlay.write(overlay.board_file("kitchen"), "rpi4", "kitchen", {"memory": {"memcpy_gbs": COPIED}})
    kitchen = profiles.load("rpi4", "kitchen")
    assert kitchen.fact("memory", "memcpy_gbs") == COPIED
    assert kitchen.get("memory", "memset_gbs") == profiles.load("rpi4").get("memory", "memset_gbs")
    for other in (profiles.load("rpi4"), profiles.load("rpi4", "garage")):
        assert other.get("memory", "memcpy_gbs") == 2.5


def test_what_was_measured_says_so_and_nothing_else_does() -> None:
    facts = {"memory": {"memcpy_gbs": replace(COPIED, is_measured=True), "memset_gbs": COPIED}}
    overlay.write(overlay.board_file("kitchen"), "rpi4", "kitchen", facts)
    kitchen = profiles.load("rpi4", "kitchen").facts
    marked = {(s, name) for s, found in kitchen.items() for name, fact in found.items() if fact.is_measured}
    assert marked == {("memory", "memcpy_gbs")}


def test_an_address_is_as_good_a_name_as_any() -> None:
    name = "ssh://pi@10.0.0.7:2222?python=/x/y"
    file = overlay.board_file(name)
    assert file.parent == overlay.board_file("kitchen").parent
    overlay.write(file, "rpi4", name, {"memory": {"memcpy_gbs": COPIED}})
    assert profiles.load("rpi4", name).get("memory", "memcpy_gbs") == 2.7


def test_calibrating_again_replaces_what_is_found_again_and_keeps_the_rest() -> None:
    file = overlay.board_file("kitchen")
    gemm = Fact(30.0, "GFLOP/s", "measured", "high")
    overlay.write(
        file, "rpi4", "kitchen", {"memory": {"memcpy_gbs": COPIED}, "measured": {"gemm_fp32_gflops": gemm}}
    )
    again = Fact(2.8, "GB/s copied", "measured again", "medium")
    overlay.write(file, "rpi4", "kitchen", {"memory": {"memcpy_gbs": again}})
    profile = profiles.load("rpi4", "kitchen")
    assert profile.fact("memory", "memcpy_gbs") == again
    assert profile.fact("measured", "gemm_fp32_gflops") == gemm


def test_a_board_that_is_another_device_now_is_calibrated_anew() -> None:
    file = overlay.board_file("kitchen")
    overlay.write(file, "rpi4", "kitchen", {"memory": {"memcpy_gbs": COPIED}})
    with pytest.raises(ConfigError, match="was measured on a rpi4, and kitchen is used as a rpi5 now"):
        profiles.load("rpi5", "kitchen")
    overlay.write(file, "rpi5", "kitchen", {"power": {"idle_w": Fact(2.5, "W", "measured", "high")}})
    profile = profiles.load("rpi5", "kitchen")
    assert (profile.get("power", "idle_w"), profile.get("memory", "memcpy_gbs")) == (2.5, 5.4)


@pytest.mark.parametrize("text", ["no toml", 'device = "rpi4"\n[memory]\nmemcpy_gbs = 3\n'])
def test_a_broken_file_is_said_and_calibrating_replaces_it(text: str) -> None:
    file = overlay.board_file("kitchen")
    file.parent.mkdir(parents=True)
    file.write_text(text)
    with pytest.raises(ConfigError, match=r"kitchen\.toml"):
        profiles.load("rpi4", "kitchen")
    overlay.write(file, "rpi4", "kitchen", {"memory": {"memcpy_gbs": COPIED}})
    assert profiles.load("rpi4", "kitchen").get("memory", "memcpy_gbs") == 2.7


def test_a_write_that_fails_leaves_what_was_there() -> None:
    file = overlay.board_file("kitchen")
    overlay.write(file, "rpi4", "kitchen", {"memory": {"memcpy_gbs": COPIED}})
    before = file.read_text()
    file.with_name("folder.toml").mkdir()  # nothing can be put in its place
    with pytest.raises(EdgeoptError, match="cannot write"):
        overlay.write(file.with_name("folder.toml"), "rpi4", "kitchen", {"memory": {"memcpy_gbs": COPIED}})
    assert file.read_text() == before
    assert sorted(path.name for path in file.parent.iterdir()) == ["folder.toml", file.name]
