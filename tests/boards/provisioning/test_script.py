"""Composing what runs on a board: it is one script that any POSIX shell reads, complete or not at all."""

from __future__ import annotations

import subprocess
from dataclasses import replace
from pathlib import Path

import pytest

from edgeopt.boards.provisioning import script, steps
from edgeopt.boards.provisioning.script import Meter, Settings
from edgeopt.core.errors import ConfigError
from edgeopt.resources import resource

STEPS = steps.all_steps()
SETTINGS = Settings.of("pi", "pi", litert=False, from_index=False, meter=None)


@pytest.fixture
def empty(tmp_path: Path) -> Path:
    (tmp_path / "empty").mkdir()
    return tmp_path / "empty"


def run(composed: str, *arguments: str, home: Path) -> subprocess.CompletedProcess[str]:
    """Let this machine's shell read a composed script, like a board's."""
    return subprocess.run(
        ["/bin/sh", "-c", script.command(*arguments)],
        input=composed, env={"HOME": str(home), "PATH": "/usr/bin:/bin"},
        capture_output=True, text=True, check=False,
    )  # fmt: skip


def test_scripts_are_clean() -> None:
    files = [*resource(steps.FOLDER).glob("*.sh"), *resource(steps.FOLDER).glob("steps/*.sh")]
    done = subprocess.run(["shellcheck", *files], capture_output=True, text=True, check=False)
    assert len(files) > len(STEPS)
    assert (done.returncode, done.stdout) == (0, "")


@pytest.mark.parametrize("step", STEPS, ids=lambda step: step.name)
def test_each_step_can_be_checked_done_and_undone(step: steps.Step) -> None:
    assert [f for f in ("check", "do", "undo") if f"\n{step.name}_{f}() {{" not in step.script] == []
    assert step.title
    assert step.lost


def test_root_goes_first_and_asked_for_steps_only_when_asked_for() -> None:
    usual = [step.name for step in steps.choose(STEPS)]
    assert usual == ["governor", "perf", "swap", "user", "watchdog", "runtime"]
    assert [s.name for s in steps.choose(STEPS, only=["swap", "i2c"])] == ["i2c", "swap"]
    assert "swap" not in [s.name for s in steps.choose(STEPS, skip=["swap"])]
    assert "cgroup" in [s.name for s in steps.choose(STEPS, extra=["cgroup"])]


@pytest.mark.parametrize(
    ("only", "skip", "says"), [(["swop"], [], "unknown step 'swop'"), (["swap"], ["swap"], "no step is left")]
)
def test_a_choice_that_makes_no_sense_is_refused(only: list[str], skip: list[str], says: str) -> None:
    with pytest.raises(ConfigError, match=says):
        steps.choose(STEPS, only, skip)


def test_a_file_that_is_no_step_is_refused(tmp_path: Path) -> None:
    (tmp_path / "x.sh").write_text("# title: x\nx_check() { :; }\n")
    with pytest.raises(ConfigError, match="does not say what step it is"):
        steps.Step.read(tmp_path / "x.sh")


@pytest.mark.parametrize("share", [0.1, 0.5, 0.9, 0.999])
def test_of_a_script_that_was_cut_off_nothing_runs(share: float, empty: Path) -> None:
    composed = script.compose(STEPS, SETTINGS)
    done = run(composed[: int(len(composed) * share)], "do", "runtime", home=empty)
    assert "edgeopt-provision" not in done.stdout
    assert list(empty.iterdir()) == []


def test_what_stdin_carries_before_the_script_is_not_run(empty: Path) -> None:
    composed = f"touch {empty}/leaked; echo leaked\n" + script.compose(STEPS, SETTINGS)
    done = run(composed, "check", "swap", home=empty)
    assert done.stdout.startswith("edgeopt-provision\t1\n")
    assert "leaked" not in done.stdout + done.stderr
    assert list(empty.iterdir()) == []


def test_without_its_first_line_nothing_runs(empty: Path) -> None:
    done = run(script.compose(STEPS, SETTINGS).removeprefix(script.MARK), "check", "swap", home=empty)
    assert (done.returncode, done.stdout) == (9, "")


def test_values_are_quoted(empty: Path) -> None:
    evil = replace(SETTINGS, modules=(f"$(touch {empty}/x)'; touch {empty}/y; '",))
    run(script.compose(STEPS, evil), "check", "runtime", home=empty)
    assert list(empty.iterdir()) == []


@pytest.mark.parametrize("user", ["", "Root", "a b", "x;reboot", "-rf", "a" * 40])
def test_what_is_no_name_of_an_account_is_refused(user: str) -> None:
    with pytest.raises(ConfigError, match="cannot be the name of an account"):
        Settings.of("pi", user, litert=False, from_index=False, meter=None)


def test_litert_comes_on_top() -> None:
    both = Settings.of("pi", "pi", litert=True, from_index=False, meter=None)
    assert both.requirements == ("onnxruntime<1.29", "ai-edge-litert")


def test_a_meter_has_a_chip_a_place_and_a_shunt() -> None:
    assert Meter.parse("ina219@1:0x40", 0.1) == Meter("ina219", 1, 0x40, 0.1)
    variables = replace(SETTINGS, meter=Meter("ina226", 10, 0x45, 0.002)).variables()
    assert variables["METER_ADDRESS"] == "0x45"
    assert variables["METER_SHUNT_MICROOHM"] == "2000"


@pytest.mark.parametrize(
    ("text", "shunt_ohm", "says"),
    [
        ("ina219@1:0x40", None, "needs --shunt-ohm"),
        ("ina219@1:0x40", 0.0, "needs --shunt-ohm"),
        ("ina219@1:0x40", float("nan"), "needs --shunt-ohm"),
        ("ina219@1:0x40", 100.0, "needs --shunt-ohm"),
        ("ina219@0x40", 0.1, "is not CHIP@BUS:ADDRESS"),
        ("lm75@1:0x48", 0.1, "is not CHIP@BUS:ADDRESS"),
        ("ina219@1:0x7f", 0.1, "is not CHIP@BUS:ADDRESS"),
        ("ina219@1:40", 0.1, "is not CHIP@BUS:ADDRESS"),
    ],
)
def test_a_meter_that_makes_no_sense_is_refused(text: str, shunt_ohm: float | None, says: str) -> None:
    with pytest.raises(ConfigError, match=says):
        Meter.parse(text, shunt_ohm)
