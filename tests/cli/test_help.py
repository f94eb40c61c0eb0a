from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable

import pytest

from tests.cli.conftest import Ran

COMMANDS = [
    ["optimize"], ["measure"], ["report"], ["init"], ["doctor"],
    ["study"], ["study", "show"], ["study", "best"], ["study", "pareto"], ["study", "export"],
    ["devices"], ["devices", "list"], ["devices", "show"], ["devices", "check"],
    ["boards"], ["boards", "list"], ["boards", "add"], ["boards", "enroll"], ["boards", "probe"],
    ["data"], ["data", "check"], ["rewrites"], ["rewrites", "list"], ["rewrites", "explain"],
    ["bench"], ["bench", "search"], ["bench", "record"],
    ["package"], ["verify"], ["keys"], ["keys", "new"], ["keys", "rotate"], ["keys", "revoke"],
    ["keys", "list"],
]  # fmt: skip


@pytest.mark.parametrize("command", COMMANDS, ids=" ".join)
def test_every_command_explains_itself_with_examples(run: Callable[..., Ran], command: list[str]) -> None:
    ran = run(*command, "--help")
    assert ran.code == 0
    assert "Examples" in ran.out
    assert f"$ edgeopt {' '.join(command)}" in " ".join(ran.out.split())


def completions(*words: str) -> list[str]:
    ran = subprocess.run(
        [sys.executable, "-c", "from edgeopt.cli.main import main; main()"],
        env={
            **os.environ,
            "_EDGEOPT_COMPLETE": "complete_bash",
            "COMP_WORDS": " ".join(["edgeopt", *words]),
            "COMP_CWORD": str(len(words)),
        },
        capture_output=True,
        text=True,
    )
    return ran.stdout.split()


def test_commands_are_completed() -> None:
    assert completions("opt") == ["optimize"]


def test_devices_are_completed() -> None:
    pis = ["rpi-zero2w", "rpi3b", "rpi3bplus", "rpi4", "rpi400", "rpi5"]
    assert completions("optimize", "--device", "rpi") == pis


def test_boards_are_completed() -> None:
    assert completions("measure", "--board", "p") == ["predicted"]


def test_samplers_are_completed() -> None:
    assert "ppo" in completions("optimize", "--sampler", "pp")
