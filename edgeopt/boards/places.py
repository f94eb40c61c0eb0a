"""Where the user's own files are."""

from __future__ import annotations

import os
from pathlib import Path


def home() -> Path:
    """`$EDGEOPT_HOME`, by default `~/.config/edgeopt`: `boards.toml` and `known_hosts`."""
    return Path(os.environ.get("EDGEOPT_HOME") or Path.home() / ".config" / "edgeopt").expanduser()


def known_hosts() -> tuple[Path, Path]:
    """Files of trusted host keys: edgeopt's own first, then the user's."""
    return home() / "known_hosts", Path.home() / ".ssh" / "known_hosts"


def cache() -> Path:
    """`$EDGEOPT_CACHE`, by default `~/.cache/edgeopt`: what can be made again (images of virtual boards)."""
    base = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
    return Path(os.environ.get("EDGEOPT_CACHE") or base / "edgeopt").expanduser().absolute()
