"""Where edgeopt keeps what it can make again."""

from __future__ import annotations

import os
from pathlib import Path


def cache_folder() -> Path:
    """`$EDGEOPT_CACHE`, by default `$XDG_CACHE_HOME/edgeopt` or `~/.cache/edgeopt`."""
    base = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
    return Path(os.environ.get("EDGEOPT_CACHE") or base / "edgeopt").expanduser().absolute()
