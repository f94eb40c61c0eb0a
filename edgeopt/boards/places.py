"""Where the user's own files are."""

from __future__ import annotations

import os
from pathlib import Path

from edgeopt.core.cache import cache_folder


def home() -> Path:
    """`$EDGEOPT_HOME`, by default `~/.config/edgeopt`: `boards.toml` and `known_hosts`."""
    return Path(os.environ.get("EDGEOPT_HOME") or Path.home() / ".config" / "edgeopt").expanduser()


def known_hosts() -> tuple[Path, Path]:
    """Files of trusted host keys: edgeopt's own first, then the user's."""
    return home() / "known_hosts", Path.home() / ".ssh" / "known_hosts"


def cache() -> Path:
    """`$EDGEOPT_CACHE`, by default `~/.cache/edgeopt`: what can be made again (images of virtual boards)."""
    return cache_folder()
