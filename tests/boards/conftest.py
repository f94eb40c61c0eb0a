"""The on-board runner on this machine: as a board, and as a module of the test's own process."""

from __future__ import annotations

import contextlib
import os
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from types import ModuleType

import pytest

from edgeopt.boards.dialogue import Dialogue
from edgeopt.boards.transports import local as this_machine
from tests.boards.runners import board, runner_module


@pytest.fixture(scope="module")
def local(tmp_path_factory: pytest.TempPathFactory):
    """One board for the tests that do not break it; its files are not in a test's own home."""
    patch = pytest.MonkeyPatch()
    patch.setenv("HOME", str(tmp_path_factory.mktemp("board")))
    with board("local") as opened:
        patch.undo()
        yield opened


@pytest.fixture
def supervisor() -> Iterator[ModuleType]:
    """The runner as a module of this process, whose stdin stays open and silent as a supervisor's does."""
    silent, keep = os.pipe()
    own = os.dup(0)
    os.dup2(silent, 0)
    runner = runner_module()
    # A supervisor ends whatever else it finds below itself; here that may be another test's virtual board.
    runner.Child.unburied.update(runner.children())
    yield runner
    for child in list(runner.Child.alive):
        child.end()
    os.dup2(own, 0)
    for descriptor in (silent, keep, own):
        os.close(descriptor)


@pytest.fixture
def talk(home: Path) -> Iterator[Callable[[], Dialogue]]:
    """Conversations with runners of this machine."""
    with contextlib.ExitStack() as stack:

        def start() -> Dialogue:
            transport = stack.enter_context(
                contextlib.closing(this_machine.LocalTransport(sys.executable, home / "board"))
            )
            dialogue = Dialogue(transport.start_runner(), "kitchen")
            stack.callback(dialogue.close)
            return dialogue

        yield start
