"""A board on which the runner does not start says why in one line: each cause is a real one."""

from __future__ import annotations

import os
import sys
from pathlib import Path

import pytest

from edgeopt.boards import profiles
from edgeopt.boards.address import Address
from edgeopt.boards.complaints import explained
from edgeopt.boards.connect import open_board
from edgeopt.core.errors import BoardError, CommandError
from tests.boards.interpreters import old_pythons
from tests.sshd import Sshd


def refusal(url: str) -> BoardError:
    with pytest.raises(BoardError) as refused:
        open_board("rack", profiles.load("local"), Address.parse(url), lambda _, __: []).close()
    error = refused.value
    assert error.exit_code == 4
    assert "\n" not in error.message
    assert "Traceback" not in error.message
    return error


@pytest.mark.parametrize("python", old_pythons())
def test_an_old_python(sshd: Sshd, python: str) -> None:
    error = refusal(f"{sshd.address}?identity={sshd.identity}&python={python}")
    assert error.message.startswith("rack: its Python is older than 3.9")
    assert "?python=/path" in str(error.hint)


def test_no_python(sshd: Sshd) -> None:
    error = refusal(f"{sshd.address}?identity={sshd.identity}&python=/nowhere/python3")
    assert error.message.startswith("rack: there is no such Python (env: ")
    assert "/nowhere/python3" in error.message


def test_a_home_that_is_full_of_a_file(sshd: Sshd) -> None:
    (sshd.home / ".cache").write_text("not a folder")
    said = refusal(sshd.url).message
    assert "cannot store edgeopt_runner.py: mkdir: " in said
    assert "Not a directory" in said or "File exists" in said


def test_a_32_bit_python_is_answered_with_the_64_bit_image(sshd: Sshd, tmp_path: Path) -> None:
    """A process that says what one of a 32-bit userland says: that it is, and that it has no onnxruntime."""
    python = tmp_path / "python32"
    narrow = (
        "import runpy, sys; sys.maxsize = 2**31 - 1; sys.argv = sys.argv[1:]; "
        "runpy.run_path(sys.argv[0], run_name='__main__')"
    )
    python.write_text(f'#!/bin/sh\nexec {sys.base_prefix}/bin/python3 -I -c "{narrow}" "$@"\n')
    python.chmod(0o755)
    error = refusal(f"{sshd.address}?identity={sshd.identity}&python={python}")
    assert error.message == "rack: its Python is a 32-bit program and lacks onnxruntime"
    assert "64-bit image" in str(error.hint)


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write anywhere")
def test_a_home_that_may_not_be_written(sshd: Sshd) -> None:
    sshd.home.chmod(0o500)
    assert "may not write to ~/.cache/edgeopt" in refusal(sshd.url).message


@pytest.mark.parametrize(
    ("said", "means"),
    [
        ("mkdir: cannot create directory '/home/pi/.cache': Read-only file system", "its disk is read-only"),
        ("cat: write error: No space left on device", "its disk is full"),
        ("mkdir: cannot create directory '/home/pi/.cache': Permission denied", "its user may not write"),
    ],
)
def test_what_shells_say_is_understood(said: str, means: str) -> None:
    error = explained(CommandError(f"ssh://pi@10.0.0.7 cannot store edgeopt_runner.py: {said}"), "rack")
    assert error.message.startswith(f"rack: {means}")
    assert said in error.message
    assert isinstance(error, CommandError)
    assert error.hint


def test_what_nobody_understands_stays_as_it_is() -> None:
    error = CommandError("the on-board runner is gone: Segmentation fault")
    assert explained(error, "rack") is error
