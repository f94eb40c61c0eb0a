"""One process per study folder."""

from __future__ import annotations

import fcntl
import os
import socket
from pathlib import Path

from edgeopt.core.errors import EdgeoptError, StudyError

NAME = "study.lock"


class FolderLock:
    """Held from `acquire` to `release`; the kernel releases it when the process dies, however it dies."""

    def __init__(self, folder: Path) -> None:
        self._path = folder / NAME
        self._descriptor: int | None = None

    def acquire(self) -> None:
        """Take the lock.

        Raises:
            StudyError: Another process holds it; says which.
            EdgeoptError: The folder is not writable.
        """
        try:
            self._path.parent.mkdir(parents=True, exist_ok=True)
            descriptor = os.open(self._path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)
        except OSError as error:
            raise EdgeoptError(
                f"cannot write to {self._path.parent}: {error.strerror}", hint="choose another folder with -o"
            ) from error
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            holder = os.pread(descriptor, 200, 0).decode(errors="replace").strip() or "another process"
            os.close(descriptor)
            raise StudyError(
                f"{self._path.parent} is in use by {holder}",
                hint="wait until it ends, or choose another folder with -o",
            ) from error
        self._descriptor = descriptor
        self._sign(descriptor)

    def release(self) -> None:
        """Give it back; harmless if it is not held."""
        if self._descriptor is not None:
            os.close(self._descriptor)
            self._descriptor = None

    def _sign(self, descriptor: int) -> None:
        try:
            os.ftruncate(descriptor, 0)
            os.pwrite(descriptor, f"process {os.getpid()} on {socket.gethostname()}".encode(), 0)
        except OSError:
            return  # a full disk: the lock itself holds without a name in it
