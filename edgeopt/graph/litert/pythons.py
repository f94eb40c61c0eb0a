"""Finds a Python that can run the conversion tools, which are newer than what edgeopt itself needs."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

from edgeopt.core.errors import EdgeoptError

VERSIONS = ("3.12", "3.13")
"""For which all tools have wheels."""

_ASK = "import ensurepip, sys, venv; print('%d.%d' % sys.version_info[:2])"
_ASK_S = 20.0


def find_python() -> Path:
    """A Python of one of `VERSIONS` that can make virtual environments.

    It is the one that runs edgeopt, or else the first of those on PATH, pyenv's and uv's.

    Raises:
        EdgeoptError: There is none.
    """
    seen: set[Path] = set()
    for path in _candidates():
        if path not in seen and _version(path) in VERSIONS:
            return path
        seen.add(path)
    raise EdgeoptError(
        f"converting to LiteRT needs Python {' or '.join(VERSIONS)}, and none was found: not on PATH, not "
        "among pyenv's, not among uv's",
        hint="install one: apt-get install python3.12-venv, or pyenv install 3.12, or uv python install 3.12",
    )


def _candidates() -> Iterator[Path]:
    yield Path(sys.executable)
    for name in (*(f"python{version}" for version in VERSIONS), "python3"):
        if found := shutil.which(name):
            yield Path(found)
    root = Path(os.environ.get("PYENV_ROOT") or Path.home() / ".pyenv")
    for version in VERSIONS:
        yield from sorted(root.glob(f"versions/{version}*/bin/python"))
    if uv := shutil.which("uv"):
        for version in VERSIONS:
            if found := _said([uv, "python", "find", "--no-python-downloads", version]):
                yield Path(found)


def _version(python: Path) -> str | None:
    """Of a Python with pip and venv; None if it is not there or lacks them (as Debian's may)."""
    return _said([str(python), "-I", "-c", _ASK])


def _said(command: list[str]) -> str | None:
    try:
        finished = subprocess.run(
            command, capture_output=True, text=True, timeout=_ASK_S, check=False, stdin=subprocess.DEVNULL
        )
    except (OSError, subprocess.TimeoutExpired):
        return None
    return finished.stdout.strip() if finished.returncode == 0 else None
