"""Writes files wholly or not at all."""

from __future__ import annotations

import os
import tempfile
from pathlib import Path

from edgeopt.core.errors import EdgeoptError


def write_atomically(path: Path, content: bytes) -> None:
    """Write `content` to `path` so that nobody, not even after a power cut, sees half of it.

    Raises:
        EdgeoptError: Disk full, permission, no such folder; nothing is left behind.
    """
    temporary: str | None = None
    try:
        descriptor, temporary = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
        with os.fdopen(descriptor, "wb") as stream:
            stream.write(content)
            stream.flush()
            os.fsync(stream.fileno())
        Path(temporary).replace(path)
        temporary = None
        _sync_folder(path.parent)
    except OSError as error:
        raise EdgeoptError(f"cannot write {path}: {error.strerror or error}") from error
    finally:
        if temporary is not None:
            Path(temporary).unlink(missing_ok=True)


def _sync_folder(folder: Path) -> None:
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
