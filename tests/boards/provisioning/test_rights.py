"""Who may prepare a board: what needs root is left alone without it, and a password goes to sudo only."""

from __future__ import annotations

import contextlib
import os
import pty
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest

from edgeopt.core.errors import BoardError
from tests.boards.provisioning.boards import LISTING, PARANOID, PASSWORD, Board, run, states

pytestmark = pytest.mark.timeout(900)


def test_without_rights_what_needs_them_is_named_and_left_alone(board: Board, unleased: None) -> None:
    board.allow_sudo()
    before = board.root(LISTING)
    done = run(board.running.url, "do", ["perf", "swap", "watchdog"])
    assert states(done) == dict.fromkeys(["perf", "swap", "watchdog"], "needs-root")
    assert "cannot be counted" in str(done.results[0].reason)
    checked = run(board.running.url, "check", ["perf", "watchdog"])
    assert states(checked) == {"perf": "would-change", "watchdog": "not-applicable"}
    with pytest.raises(BoardError, match="sudo refuses: the password is wrong") as refusal:
        run(board.running.url, "do", ["perf", "swap"], "wrong")
    assert "wrong\n" not in str(refusal.value)
    assert board.root(LISTING) == before
    board.root("gpasswd -d board sudo")
    with pytest.raises(BoardError, match="sudo refuses: board is not in the sudoers file"):
        run(board.running.url, "do", ["perf"], PASSWORD)


def test_a_password_goes_to_sudo_and_nowhere_else(board: Board, tmp_path: Path, unleased: None) -> None:
    board.allow_sudo()
    # Everything that any process was started with, here and there, while it runs.
    look_there = "cat /proc/[0-9]*/cmdline /proc/[0-9]*/environ 2> /dev/null"
    watch = f"while [ ! -e /run/enough ]; do {look_there} || :; done > /run/seen"
    here: list[bytes] = []
    over = threading.Event()

    def look() -> None:
        while not over.wait(0.02):
            for file in Path("/proc").glob("[0-9]*/cmdline"):
                with contextlib.suppress(OSError):
                    here.append(file.read_bytes())

    looking = [threading.Thread(target=look), threading.Thread(target=board.root, args=(watch,))]
    for thread in looking:
        thread.start()
    done = run(board.running.url, "do", ["perf"], PASSWORD)
    over.set()
    board.root("touch /run/enough")
    for thread in looking:
        thread.join()
    assert states(done) == {"perf": "changed"}
    assert board.root(f"cat {PARANOID}") == "2\n"
    assert b"edgeopt" in b"".join(here)
    assert PASSWORD.encode() not in b"".join(here)
    found = board.root(
        "grep -c 'sudo -k -S' /run/seen; "
        f"grep -rl {PASSWORD} / --exclude-dir=proc --exclude-dir=sys --exclude-dir=dev --exclude-dir=usr || :"
    )
    assert int(found.split()[0]) > 0
    assert found.split()[1:] == []
    assert subprocess.run(["grep", "-rl", PASSWORD, tmp_path], capture_output=True, check=False).stdout == b""


def test_the_command_asks_once_at_the_terminal(board: Board) -> None:
    board.allow_sudo()
    command = [
        sys.executable, "-m", "edgeopt", "boards", "provision", board.running.url,
        "--only", "perf,swap", "--ask-sudo", "--json",
    ]  # fmt: skip
    pid, terminal = pty.fork()
    if pid == 0:
        os.execv(command[0], command)
    said = b""
    with contextlib.suppress(OSError):  # the other side of a terminal that is gone
        while part := os.read(terminal, 4096):
            said += part
            if said.endswith(b"password of sudo on the board: "):
                time.sleep(0.1)
                os.write(terminal, PASSWORD.encode() + b"\n")
    _, status = os.waitpid(pid, 0)
    os.close(terminal)
    assert os.waitstatus_to_exitcode(status) == 0, said
    assert said.count(b"password of sudo") == 1
    assert PASSWORD.encode() not in said
    assert b'"changed": true' in said
