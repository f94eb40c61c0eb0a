"""Writes files wholly or not at all."""

from __future__ import annotations

import os
import secrets
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO

from edgeopt.core.errors import EdgeoptError


def write_atomically(path: Path, content: bytes) -> None:
    """Write `content` to `path` so that nobody, not even after a power cut, sees half of it.

    Raises:
        EdgeoptError: Disk full, permission, no such folder; nothing is left behind.
    """
    with written_atomically(path) as stream:
        stream.write(content)


@contextmanager
def written_atomically(path: Path) -> Iterator[IO[bytes]]:
    """A stream that becomes the file `path` when the block ends well.

    Raises:
        EdgeoptError: As `write_atomically`.
    """
    temporary = path.with_name(f".{path.name}.{os.getpid()}-{secrets.token_hex(4)}")
    try:
        with temporary.open("xb") as stream:  # not mkstemp: the user's umask decides who may read it
            yield stream
            stream.flush()
            os.fsync(stream.fileno())
        temporary.replace(path)
        _sync_folder(path.parent)
    except OSError as error:
        raise cannot_write(path, error) from error
    finally:
        temporary.unlink(missing_ok=True)


def cannot_write(path: Path, error: OSError) -> EdgeoptError:
    """The error for a file that could not be written."""
    return EdgeoptError(
        f"cannot write {path}: {error.strerror or error}",
        hint="free some space, or see who may write there; the same command then goes on",
    )


def _sync_folder(folder: Path) -> None:
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
