"""A working folder and the real command line in it."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.e2e import made
from tests.e2e.program import Inside, Program


@pytest.fixture
def work(tmp_path: Path) -> Path:
    folder = tmp_path / "work"
    folder.mkdir()
    return folder


@pytest.fixture
def edgeopt(work: Path, home: Path, monkeypatch: pytest.MonkeyPatch) -> Program:
    """`edgeopt` in an empty folder, for a user with an empty home."""
    monkeypatch.setenv("CI", "1")
    monkeypatch.delenv("EDGEOPT_DEBUG", raising=False)
    return Program(work)


@pytest.fixture
def inside(edgeopt: Program) -> Program:
    """The same in this process, for answers that take no measuring: starting it anew takes longer."""
    return Inside(edgeopt.folder)


@pytest.fixture
def model(work: Path) -> Path:
    return made.classifier(work / "net.onnx")


@pytest.fixture
def data(work: Path) -> Path:
    return made.samples(work / "data.npz")
