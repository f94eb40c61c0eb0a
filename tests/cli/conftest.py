"""A command line in an empty folder and an empty home."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from edgeopt.cli.main import main
from tests.e2e.program import Ran


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    work = tmp_path / "work"
    work.mkdir()
    monkeypatch.chdir(work)
    monkeypatch.setenv("EDGEOPT_HOME", str(tmp_path / "home"))
    monkeypatch.setenv("CI", "1")
    monkeypatch.delenv("EDGEOPT_DEBUG", raising=False)
    return work


@pytest.fixture
def run(folder: Path, capfd: pytest.CaptureFixture[str]) -> Callable[..., Ran]:
    def call(*arguments: object) -> Ran:
        capfd.readouterr()
        code = main([str(argument) for argument in arguments])
        out, err = capfd.readouterr()
        return Ran(code, out, err)

    return call
