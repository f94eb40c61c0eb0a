"""Temporary folders that go in the end, also those of a process that was killed."""

from __future__ import annotations

import contextlib
import fcntl
import os
import shutil
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

PREFIX = "edgeopt-scratch-"
YOUNG_S = 60.0
"""Whoever makes a folder locks it a moment later: one that is younger may not be locked yet."""


@contextlib.contextmanager
def scratch() -> Iterator[Path]:
    """A folder for as long as the block takes; if this process is killed, until another one makes its own."""
    _sweep(Path(tempfile.gettempdir()))
    with tempfile.TemporaryDirectory(prefix=PREFIX) as folder:
        lock = os.open(folder, os.O_RDONLY | os.O_CLOEXEC)
        try:
            fcntl.flock(lock, fcntl.LOCK_EX)  # ends with us, however we end
            yield Path(folder)
        finally:
            os.close(lock)


def _sweep(place: Path) -> None:
    """Remove what killed processes of this user have left."""
    for folder in place.glob(f"{PREFIX}*"):
        with contextlib.suppress(OSError):  # another is faster, holds it, or is somebody else's
            if folder.stat().st_uid != os.geteuid() or time.time() - folder.stat().st_mtime < YOUNG_S:
                continue
            lock = os.open(folder, os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW)
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
                shutil.rmtree(folder)
            finally:
                os.close(lock)
