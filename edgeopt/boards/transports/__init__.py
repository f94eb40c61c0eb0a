"""Ways to reach a board: the stem of a module is the scheme of its addresses (`local`, `ssh`).

A transport moves bytes, files and commands; what they mean is `boards.runner`'s. Each module exposes
`connect(address) -> Transport` and `EXAMPLES`, addresses of its kind, and passes
`edgeopt.testing.transports`.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

FOLDER = ".cache/edgeopt"
"""Of all that edgeopt keeps on a board, below the user's home: `objects/` and `runner/`."""


@dataclass(frozen=True, slots=True)
class CommandResult:
    """What a command said, and its exit status."""

    status: int
    stdout: str
    stderr: str


class Channel(Protocol):
    """A running command, as the on-board runner: bytes in, bytes out."""

    def send(self, data: bytes) -> None:
        """Write all of `data`.

        Raises:
            ConnectError: The board is gone.
        """
        ...

    def receive(self, timeout_s: float) -> bytes:
        """The next bytes; empty once the command has ended.

        Raises:
            ConnectError: The board is gone, or silent for `timeout_s`.
        """
        ...

    def last_words(self) -> str:
        """The last line that the command wrote to stderr; empty if none."""
        ...

    def close(self) -> None:
        """End the command and, of a runner, everything that it started."""
        ...


class Transport(Protocol):
    """An open way to one board. Every method raises `ConnectError` if the board is gone."""

    def start_runner(self) -> Channel:
        """Upload the on-board runner unless it is there, and start it."""
        ...

    def start(self, command: str) -> Channel:
        """Start a POSIX shell command that is talked to: for what is too much for `run`, or takes turns."""
        ...

    def put(self, source: Path, sha256: str) -> None:
        """Store a file as `objects/SHA256`; verified after the transfer, skipped if already there.

        Raises:
            CommandError: The board refuses to store it (full disk), or it arrives damaged twice.
        """
        ...

    def get(self, sha256: str, target: Path) -> None:
        """Fetch `objects/SHA256`, verified.

        Raises:
            CommandError: The board does not have it, or it arrives damaged.
        """
        ...

    def run(self, command: str, timeout_s: float = 30.0, stdin: bytes = b"") -> CommandResult:
        """Run a POSIX shell command, which reads `stdin`.

        Raises:
            CommandError: It takes longer than `timeout_s`.
        """
        ...

    def close(self) -> None: ...
