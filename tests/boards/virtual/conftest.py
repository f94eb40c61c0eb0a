"""Virtual boards that count, and copies that a test may break."""

from __future__ import annotations

import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from edgeopt.boards import profiles
from edgeopt.boards.virtual import recipe
from edgeopt.boards.virtual.board import VirtualBoard
from edgeopt.boards.virtual.cycles import CycleModel
from edgeopt.boards.virtual.running import Running


@pytest.fixture
def copied(virtual_board: Running, images: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A copy of the image and of the saved state, to be damaged."""
    source, target = images / "virtual" / recipe.digest(), tmp_path / "cache" / "virtual" / recipe.digest()
    target.parent.mkdir(parents=True)
    subprocess.run(["cp", "-a", "--sparse=always", source, target], check=True)
    shutil.copytree(images / "virtual" / "plugin", target.parent / "plugin")
    monkeypatch.setenv("EDGEOPT_CACHE", str(tmp_path / "cache"))
    return target


@pytest.fixture(scope="module")
def opened(virtual_board: Running, tmp_path_factory: pytest.TempPathFactory) -> Iterator[VirtualBoard]:
    """A connection for all tests of a module."""
    profile = profiles.load("rpi4")
    pricing = CycleModel.of(profile, tmp_path_factory.mktemp("prices") / "prices.sqlite")
    with VirtualBoard(virtual_board, profile, pricing, lambda _, __: 0.01) as board:
        yield board


@pytest.fixture
def board(opened: VirtualBoard) -> VirtualBoard:
    """The same, which knows of no count of other tests."""
    opened.forget()
    return opened
