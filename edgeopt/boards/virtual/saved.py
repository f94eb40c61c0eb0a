"""Boards saved just before they touch their disk, so that the next one is up in a second or two."""

from __future__ import annotations

import os
import secrets
from dataclasses import dataclass
from pathlib import Path

from edgeopt.boards.virtual import image as images
from edgeopt.boards.virtual import locks
from edgeopt.boards.virtual.image import Image
from edgeopt.boards.virtual.qemu import Machine

PART = ".part-"
"""Before the number of the process that writes."""

STATE = ".state-"
"""Before the checksum of what was written: one rename makes a state whole and checked, or it is not there."""


@dataclass(frozen=True, slots=True)
class State:
    """One saved state, held open: it stays readable if somebody removes it meanwhile."""

    path: Path
    descriptor: int

    @property
    def is_damaged(self) -> bool:
        """Reads all of it."""
        expected = self.path.name.rpartition(STATE)[2]
        return images.checksum(Path(f"/proc/self/fd/{self.descriptor}")) != expected

    def discard(self) -> None:
        self.path.unlink(missing_ok=True)

    def close(self) -> None:
        os.close(self.descriptor)


@dataclass(frozen=True, slots=True)
class Saved:
    """Where the saved state of one machine on one image is, if there is one."""

    folder: Path
    machine: str

    @classmethod
    def of(cls, image: Image, machine: Machine) -> Saved:
        return cls(image.folder / "saved", machine.identity())

    def paths(self) -> list[Path]:
        """The state that was adopted: one, or none."""
        return sorted(self.folder.glob(f"{self.machine}{STATE}*"))

    def open(self) -> State | None:
        """The saved state; None if there is none. Its descriptor is the caller's to close."""
        for path in self.paths():
            try:
                return State(path, os.open(path, os.O_RDONLY | os.O_CLOEXEC))
            except FileNotFoundError:  # somebody has just found it damaged
                continue
        return None

    def beside(self) -> Path:
        """Where to write it before it is whole; what killed processes left there goes."""
        self.folder.mkdir(mode=0o700, exist_ok=True)
        for left in self.folder.glob(f"*{PART}*"):
            if not Path("/proc", left.name.rpartition(PART)[2]).exists():
                left.unlink(missing_ok=True)
        return self.folder / f"{self.machine}-{secrets.token_hex(4)}{PART}{os.getpid()}"

    def adopt(self, written: Path) -> None:
        """Take what was written as the saved state, unless another first boot was faster.

        Raises:
            OSError: There is no room for a lock, or somebody has removed the folder.
        """
        found = images.checksum(written)
        with locks.locked(self.folder / "adopt.lock"):
            if found is None or self.paths():
                written.unlink(missing_ok=True)
                return
            written.chmod(0o400)
            written.rename(self.folder / f"{self.machine}{STATE}{found}")
