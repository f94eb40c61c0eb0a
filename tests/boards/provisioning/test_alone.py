"""Provisioning and measuring keep each other out: on a real SSH server of this machine."""

from __future__ import annotations

from pathlib import Path

import pytest

from edgeopt.boards.address import Address
from edgeopt.boards.lease import Claim
from edgeopt.boards.provisioning.provision import Action, Outcome, provision
from edgeopt.boards.provisioning.script import Settings
from edgeopt.boards.provisioning.steps import Step
from edgeopt.boards.runner import RunnerBoard
from edgeopt.boards.transports import ssh
from edgeopt.core.errors import BusyError
from tests.sshd import Sshd

MARK = Step(
    "mark", "a file", "user", "nothing", None,
    'mark_check() { [ -e "$HOME/mark" ] || change "a file"; }\n'
    'mark_do() { keep mark none; : > "$HOME/mark"; }\n'
    'mark_undo() { rm "$HOME/mark"; }\n',
)  # fmt: skip


def run(sshd: Sshd, action: Action) -> Outcome:
    settings = Settings.of("board", "board", litert=False, from_index=True, meter=None)
    return provision(Address.parse(sshd.url), [MARK], settings, action)


def states(outcome: Outcome) -> list[str]:
    return [result.state for result in outcome.results]


def test_a_board_that_somebody_measures_on_is_looked_at_but_not_changed(sshd: Sshd) -> None:
    claim = Claim(owner="bob@lab", command="edgeopt measure b.onnx")
    with RunnerBoard("kitchen", "local", lambda: ssh.connect(Address.parse(sshd.url)), claim=claim):
        for action in ("do", "undo"):
            with pytest.raises(BusyError, match="is in use by bob@lab") as busy:
                run(sshd, action)
            assert "--wait" not in str(busy.value.hint)  # provisioning has no such option
        assert not (sshd.home / "mark").exists()
        assert states(run(sshd, "check")) == ["would-change"]
    assert states(run(sshd, "do")) == ["changed"]
    assert states(run(sshd, "undo")) == ["restored"]


def test_nobody_measures_on_a_board_that_is_being_prepared(sshd: Sshd, tmp_path: Path) -> None:
    script = 'mark_check() { change "a file"; [ ! -e "$HOME/go" ] || exit 3; touch "$HOME/seen"; sleep 4; }\n'
    slow = Step("mark", "a file", "user", "nothing", None, script)
    settings = Settings.of("board", "board", litert=False, from_index=True, meter=None)

    def prepare() -> None:
        provision(Address.parse(sshd.url), [slow], settings, "do")

    from tests.boards.virtual.processes import wait_until
    from tests.faults.bench import at_once

    refused: list[BusyError] = []

    def measure() -> None:
        try:
            RunnerBoard("kitchen", "local", lambda: ssh.connect(Address.parse(sshd.url)), claim=Claim())
        except BusyError as error:
            refused.append(error)

    with at_once(lambda: (sshd.home / "seen").exists(), measure):
        prepare()
        wait_until(lambda: bool(refused), 1)
    assert "is in use by" in refused[0].message


def test_without_a_python_nobody_can_measure_and_it_is_prepared_all_the_same(
    sshd: Sshd, tmp_path: Path
) -> None:
    old = tmp_path / "old"
    old.mkdir()
    (old / "python3").write_text("#!/bin/sh\nexit 1\n")
    (old / "python3").chmod(0o755)
    sshd.kill()
    sshd.config.write_text(
        sshd.config.read_text().replace("SetEnv ", f"SetEnv PATH={old}:/usr/local/bin:/usr/bin:/bin ")
    )
    sshd.start()
    assert states(run(sshd, "do")) == ["changed"]
