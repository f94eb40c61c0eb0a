"""The runtime environment from wheels that are sent, on a real SSH server of this machine.

On an emulated board, where pip itself is sent too, this takes a minute: there it is a long test.
"""

from __future__ import annotations

import subprocess
from dataclasses import replace
from pathlib import Path

from edgeopt.boards.address import Address
from edgeopt.boards.provisioning import steps
from edgeopt.boards.provisioning.provision import Action, Outcome, provision
from edgeopt.boards.provisioning.script import Settings
from tests.sshd import Sshd


def test_an_environment_is_made_from_wheels_that_are_sent_and_undone(sshd: Sshd, images: Path) -> None:
    settings = replace(
        Settings.of("board", "board", litert=False, from_index=False, meter=None),
        requirements=("packaging",),
        modules=("packaging",),
    )
    runtime = [step for step in steps.all_steps() if step.name == "runtime"]

    def run(action: Action) -> Outcome:
        return provision(Address.parse(sshd.url), runtime, settings, action)

    done = run("do")
    assert [result.state for result in done.results] == ["changed"], done.results[0].reason
    assert done.python == f"{sshd.home}/.local/share/edgeopt/runtime/bin/python"
    where = subprocess.run(
        [done.python, "-c", "import packaging; print(packaging.__file__)"],
        capture_output=True, text=True, check=True,
    ).stdout  # fmt: skip
    assert where.startswith(f"{sshd.home}/.local/")
    assert [result.state for result in run("do").results] == ["unchanged"]
    assert not (sshd.home / ".cache" / "edgeopt" / "wheels").exists()
    assert [result.state for result in run("undo").results] == ["restored"]
    assert not (sshd.home / ".local" / "share" / "edgeopt").exists()
