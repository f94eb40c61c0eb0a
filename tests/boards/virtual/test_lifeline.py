"""Processes that end with whoever started them, unless they are told to stay."""

from __future__ import annotations

import os
import threading
from pathlib import Path

import pytest

from edgeopt.boards.virtual.lifeline import Bound, run
from tests.boards.virtual.processes import is_there, kill, python, wait_until

FAMILY = "sleep 1000 & echo $! > child; wait"

STARTER = """
import sys, threading
from pathlib import Path
from edgeopt.boards.virtual.lifeline import Bound
made = []
def start():
    made.append(Bound(["sh", "-c", sys.argv[2]], folder=Path(sys.argv[1])))
# A thread that ends: what it started must not end with it.
thread = threading.Thread(target=start)
thread.start()
thread.join()
if sys.argv[3] == "stay":
    made[0].stay()
print(made[0].pid, flush=True)
sys.stdin.read()
"""


def started(folder: Path, how: str) -> tuple[int, int]:
    """Pids of a program and of its child, whose starter was killed with -9."""
    starter = python(STARTER, folder, FAMILY, how)
    assert starter.stdout
    pid = int(starter.stdout.readline())
    wait_until(lambda: (folder / "child").is_file() and (folder / "child").read_text().strip())
    child = int((folder / "child").read_text())
    assert is_there(pid)
    assert is_there(child)
    kill(starter)
    return pid, child


def test_it_and_what_it_started_end_when_its_starter_is_killed(tmp_path: Path) -> None:
    pid, child = started(tmp_path, "bound")
    wait_until(lambda: not is_there(pid) and not is_there(child))


def test_told_to_stay_it_stays(tmp_path: Path) -> None:
    pid, child = started(tmp_path, "stay")
    assert is_there(pid)
    os.killpg(pid, 9)
    wait_until(lambda: not is_there(pid) and not is_there(child))


def test_ended_nothing_of_it_is_left(tmp_path: Path) -> None:
    program = Bound(["sh", "-c", FAMILY], folder=tmp_path)
    wait_until(lambda: (tmp_path / "child").is_file() and (tmp_path / "child").read_text().strip())
    program.end()
    child = int((tmp_path / "child").read_text())
    wait_until(lambda: not is_there(child))
    assert program.status == -9


def test_its_status_and_output_are_told() -> None:
    assert run(["sh", "-c", "echo out; echo err >&2; exit 3"]) == (3, "out\nerr\n")


def test_arguments_arrive_as_they_are() -> None:
    assert run(["printf", "%s|", "a b", "", "$HOME", "'\"", "*"]) == (0, "a b||$HOME|'\"|*|")


def test_an_unknown_program_is_a_status_not_a_crash() -> None:
    status, said = run(["no-such-program-anywhere"])
    assert status == 127
    assert "no-such-program-anywhere" in said


@pytest.mark.parametrize("size", [0, 1 << 20])
def test_output_of_any_size_is_read(size: int) -> None:
    assert run(["head", "-c", str(size), "/dev/zero"]) == (0, "\0" * size)


def test_given_up_it_is_killed() -> None:
    given_up = threading.Event()
    threading.Timer(0.2, given_up.set).start()
    assert run(["sleep", "1000"], given_up=given_up) == (-9, "")
