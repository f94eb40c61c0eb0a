"""The conversion tools are installed once for all tests, in the cache of whoever runs them."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from edgeopt.core.cache import cache_folder
from edgeopt.graph.litert.environment import Environment, environment

# Read before `home` gives each test a folder of its own.
_CACHE = cache_folder()
_PYENV = Path(os.environ.get("PYENV_ROOT") or Path.home() / ".pyenv")


@pytest.fixture(scope="session")
def tools() -> Environment:
    """Installed, if they were not; two test processes at once share them."""
    patch = pytest.MonkeyPatch()
    patch.setenv("EDGEOPT_CACHE", str(_CACHE))
    patch.setenv("PYENV_ROOT", str(_PYENV))
    try:
        return environment()
    finally:
        patch.undo()
