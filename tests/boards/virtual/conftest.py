"""Fixtures of virtual boards that a test may break."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

import pytest

from edgeopt.boards.virtual import recipe
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
