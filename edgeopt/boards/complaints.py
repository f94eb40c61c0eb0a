"""Why a board could not start the on-board runner: what its shell or Python said, and what to do about it."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass

from edgeopt.core.errors import BoardError, ConnectError, RunnerGone, RuntimeMissing

LEAST_PYTHON = (3, 9)
NEEDED = ".".join(map(str, LEAST_PYTHON))


@dataclass(frozen=True, slots=True)
class Complaint:
    """In edgeopt's words."""

    means: str
    hint: str


ANOTHER = (
    f"install Python {NEEDED} or later there, and name it with ?python=/path, or `python` in boards.toml"
)

COMPLAINTS: Mapping[str, Complaint] = {
    r"SyntaxError|has no attribute|cannot import name": Complaint(
        f"its Python is older than {NEEDED}, or lacks a part of the standard library", ANOTHER
    ),
    r"^env: .*(No such file|can't execute|Permission denied)": Complaint("there is no such Python", ANOTHER),
    r"Read-only file system": Complaint(
        "its disk is read-only",
        "sudo mount -o remount,rw / there; a card that turned read-only is often failing (dmesg)",
    ),
    r"No space left|Disk quota": Complaint(
        "its disk is full", "df -h there; edgeopt boards clean BOARD frees what edgeopt keeps there"
    ),
    r"Permission denied": Complaint(
        "its user may not write to ~/.cache/edgeopt", "ls -ld ~ ~/.cache there; use the user that owns them"
    ),
}
"""Patterns of what is said on stderr, the first that fits, and what it means."""


def explained(error: BoardError, name: str) -> BoardError:
    """An error of the same kind in words that say what to do; the error itself where nobody knows better.

    Args:
        error: What starting the runner raised.
        name: Of the board.
    """
    _, *said = re.split(r"runner is gone: |cannot store \S+: ", error.message, maxsplit=1)
    for pattern, complaint in COMPLAINTS.items():
        if said and re.search(pattern, said[0]):
            kind = RuntimeMissing if type(error) in (ConnectError, RunnerGone) else type(error)
            return kind(f"{name}: {complaint.means} ({said[0]})", complaint.hint)
    return error
