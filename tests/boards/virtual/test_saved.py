"""Saved states: whole and checked, or not there, whoever else saves the same board at that moment."""

from __future__ import annotations

import os
import time
from pathlib import Path

from edgeopt.boards import profiles
from edgeopt.boards.virtual import machine, recipe
from edgeopt.boards.virtual.image import Image
from edgeopt.boards.virtual.running import Running
from edgeopt.boards.virtual.saved import PART, Saved
from tests.boards.virtual.processes import kill, python

ADOPTER = """
import os, sys
from pathlib import Path
from edgeopt.boards.virtual.saved import Saved
saved = Saved(Path(sys.argv[1]), "machine")
print("ready", flush=True)
sys.stdin.readline()
for _ in range(int(sys.argv[2])):
    written = saved.beside()
    written.write_bytes(os.urandom(1 << 20))
    saved.adopt(written)
    for path in saved.paths():
        path.unlink(missing_ok=True)  # as if it had been found damaged: the next one is adopted again
print("done", flush=True)
"""

STARTER = """
import sys
from edgeopt.boards import profiles
from edgeopt.boards.virtual import machine
board = machine.up(profiles.load("rpi4"))
print("up", flush=True)
sys.stdin.read()
"""


def test_two_who_adopt_at_once_never_show_a_damaged_state(tmp_path: Path) -> None:
    saved = Saved(tmp_path / "saved", "machine")
    adopters = [python(ADOPTER, saved.folder, 60) for _ in range(2)]
    for adopter in adopters:
        assert adopter.stdout
        assert adopter.stdout.readline() == "ready\n"
    for adopter in adopters:
        assert adopter.stdin
        adopter.stdin.write("go\n")
        adopter.stdin.flush()
    seen = 0
    end = time.monotonic() + 60
    while any(adopter.poll() is None for adopter in adopters) and time.monotonic() < end:
        if state := saved.open():
            assert not state.is_damaged
            state.close()
            seen += 1
    for adopter in adopters:
        assert adopter.stdout
        assert adopter.stdout.read() == "done\n"
        kill(adopter)
    assert seen  # how often is up to who else runs
    assert not list(saved.folder.glob(f"*{PART}*"))


def test_the_first_to_be_adopted_stays(tmp_path: Path) -> None:
    saved = Saved(tmp_path / "saved", "machine")
    for content in (b"first", b"second"):
        written = saved.beside()
        written.write_bytes(content)
        saved.adopt(written)
    (path,) = saved.paths()
    assert path.read_bytes() == b"first"
    assert path.stat().st_mode & 0o777 == 0o400


def test_a_state_is_whole_although_somebody_removes_it(tmp_path: Path) -> None:
    saved = Saved(tmp_path / "saved", "machine")
    written = saved.beside()
    written.write_bytes(os.urandom(3 << 20))
    saved.adopt(written)
    state = saved.open()
    assert state
    state.discard()
    assert saved.open() is None
    assert not state.is_damaged
    state.close()


def test_two_first_boots_at_once_leave_one_saved_state(virtual_board: Running, copied: Path) -> None:
    saved = Saved.of(Image(copied), machine.machine_of(profiles.load("rpi4")))
    for path in saved.paths():
        path.unlink()
    starters = [python(STARTER) for _ in range(2)]
    try:
        assert [starter.stdout.readline() for starter in starters if starter.stdout] == ["up\n", "up\n"]
        state = saved.open()
        assert state
        assert not state.is_damaged
        state.close()
        assert len(saved.paths()) == 1
        assert not list(saved.folder.glob(f"*{PART}*"))
    finally:
        for starter in starters:
            kill(starter)
    assert recipe.digest() == copied.name
