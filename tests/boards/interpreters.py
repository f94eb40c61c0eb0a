"""Pythons that are too old for the on-board runner, where this machine has them."""

from __future__ import annotations

import os
import pwd
from pathlib import Path
from typing import Any

import pytest

TOO_OLD = ("2.7", "3.6", "3.7", "3.8")


def old_pythons() -> list[Any]:
    """One parameter per version; skipped where it is not installed (pyenv's place)."""
    home = Path(pwd.getpwuid(os.geteuid()).pw_dir)  # tests have a HOME of their own
    return [
        _one(version, sorted(home.glob(f".pyenv/versions/{version}.*/bin/python"))) for version in TOO_OLD
    ]


def _one(version: str, installed: list[Path]) -> Any:
    absent = pytest.mark.skip(reason=f"no Python {version} here")
    return pytest.param(str(installed[0]) if installed else "", id=version, marks=() if installed else absent)
