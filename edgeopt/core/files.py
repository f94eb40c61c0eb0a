"""Writes files wholly or not at all."""

from __future__ import annotations

import os
import secrets
from pathlib import Path

from edgeopt.core.errors import EdgeoptError


def write_atomically(path: Path, content: bytes) -> None:
    """Write `content` to `path` so that nobody, not even after a power cut, sees half of it.

    Raises:
        EdgeoptError: Disk full, permission, no such folder; nothing is left behind.
    """
    temporary = path.with_name(f".{path.name}.{os.getpid()}-{secrets.token_hex(4)}")
    try:
        with temporary.open("xb") as stream:  # not mkstemp: the user's umask decides who may read it
            stream.write(content)
            stream.flush()
            os.fsync(stream.fileno())
        temporary.replace(path)
        _sync_folder(path.parent)
    except OSError as error:
        raise EdgeoptError(f"cannot write {path}: {error.strerror or error}") from error
    finally:
        temporary.unlink(missing_ok=True)


def _sync_folder(folder: Path) -> None:
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
