"""Virtual boards for provisioning."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from pathlib import Path

import pytest

from edgeopt.boards import profiles
from edgeopt.boards.virtual import machine
from edgeopt.boards.virtual.running import Running
from tests.boards.provisioning.boards import Board


@pytest.fixture
def board(virtual_board: Running, images: Path) -> Iterator[Board]:
    running = machine.up(profiles.load("rpi4"))
    yield Board(running)
    machine.down(running)


@pytest.fixture
def unleased(monkeypatch: pytest.MonkeyPatch) -> None:
    """Starting the runner for the lease takes an emulated core longer than a step does.

    That it is taken is seen in `test_alone`, and here where a board is prepared as a whole.
    """
    monkeypatch.setattr("edgeopt.boards.provisioning.provision.alone", lambda _: contextlib.nullcontext())
