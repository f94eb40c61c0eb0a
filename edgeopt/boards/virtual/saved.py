"""Boards saved just before they touch their disk, so that the next one is up in a second or two."""

from __future__ import annotations

import contextlib
import os
from dataclasses import dataclass
from pathlib import Path

from edgeopt.boards.virtual import image as images
from edgeopt.boards.virtual.image import Image
from edgeopt.boards.virtual.qemu import Machine
from edgeopt.core.files import write_atomically

PART = ".part-"
"""Before the number of the process that writes."""


@dataclass(frozen=True, slots=True)
class Saved:
    """The saved state of one machine on one image, if there is one."""

    path: Path

    @classmethod
    def of(cls, image: Image, machine: Machine) -> Saved:
        return cls(image.folder / "saved" / machine.identity())

    @property
    def exists(self) -> bool:
        return self._sum.is_file() and self.path.is_file()

    @property
    def is_damaged(self) -> bool:
        """Reads all of it."""
        try:
            return self._sum.read_text(encoding="ascii") != images.checksum(self.path)
        except OSError:
            return True

    def beside(self) -> Path:
        """Where to write it before it is whole; what killed processes left there goes."""
        self.path.parent.mkdir(mode=0o700, exist_ok=True)
        for left in self.path.parent.glob(f"*{PART}*"):
            if not Path("/proc", left.name.rpartition(PART)[2]).exists():
                left.unlink(missing_ok=True)
        return self.path.with_name(f"{self.path.name}{PART}{os.getpid()}")

    def adopt(self, written: Path) -> None:
        """Take what was written as the saved state."""
        found = images.checksum(written)
        self.discard()
        written.chmod(0o400)
        written.replace(self.path)
        write_atomically(self._sum, str(found).encode())

    def discard(self) -> None:
        for path in (self._sum, self.path):
            with contextlib.suppress(FileNotFoundError):
                path.unlink()

    @property
    def _sum(self) -> Path:
        return self.path.with_name(f"{self.path.name}.sum")
