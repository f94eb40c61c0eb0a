"""Processes that die with the process that started them, however that ends, until they are told to stay.

Between us and the program stands a pipe that only we hold: when it closes without a word, a watcher kills the
program and all that it started. (The kernel's parent-death signal would do this when the *thread* ends that
started the program, and not for what the program starts.)
"""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import tempfile
import threading
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import IO

_WATCHED = (
    "exec 3<&0 </dev/null; "
    '( ( exec >/dev/null 2>&1; read -r word <&3; [ "$word" = stay ] || kill -s KILL -- -$$ ) & ); '
    'exec 3<&-; exec "$@"'
)

_staying: list[subprocess.Popen[bytes]] = []
"""Python warns of a running child that nobody refers to: those are meant to run on."""


class Bound:
    """A program in a session of its own that does not outlive us.

    Attributes:
        pid: Of the program itself, which leads its process group.
    """

    def __init__(
        self,
        command: Sequence[str | Path],
        *,
        output: int | IO[bytes] = subprocess.DEVNULL,
        folder: Path | None = None,
        environment: Mapping[str, str] | None = None,
        descriptors: Sequence[int] = (),
    ) -> None:
        """Start it; its stdout and stderr go to `output`, and it inherits `descriptors`."""
        self._process = subprocess.Popen(
            ["sh", "-c", _WATCHED, "sh", *map(str, command)],
            stdin=subprocess.PIPE,
            stdout=output,
            stderr=subprocess.STDOUT,
            cwd=folder,
            env={**os.environ, **(environment or {})},
            pass_fds=descriptors,
            start_new_session=True,
        )
        self.pid = self._process.pid
        self._stays = False

    @property
    def status(self) -> int | None:
        """Its exit status; None while it runs."""
        return self._process.poll()

    def wait(self, timeout_s: float | None = None) -> int:
        return self._process.wait(timeout_s)

    def stay(self) -> None:
        """From now on it outlives us."""
        self._stays = True
        _staying.append(self._process)
        if self._process.stdin:
            self._process.stdin.write(b"stay\n")
            self._process.stdin.close()

    def end(self) -> None:
        """Kill it and all that it started, if anything is left."""
        # As long as the watcher is in the group, or the program is, nobody else can have its number.
        if not self._stays or self.status is None:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(self.pid, signal.SIGKILL)
        self._process.wait()
        if self._process.stdin:
            self._process.stdin.close()


def run(
    command: Sequence[str | Path],
    *,
    folder: Path | None = None,
    environment: Mapping[str, str] | None = None,
    given_up: threading.Event | None = None,
) -> tuple[int, str]:
    """Run a program to its end; returns its exit status and all that it printed.

    Args:
        command: The program and its arguments.
        folder: Where it runs.
        environment: What it finds in its environment besides ours.
        given_up: Once this is set it is killed.

    Raises:
        OSError: There is nowhere to write.
    """
    with tempfile.TemporaryFile() as output:
        program = Bound(command, output=output, folder=folder, environment=environment)
        try:
            status = program.wait() if given_up is None else _wait(program, given_up)
        finally:
            program.end()
        output.seek(0)
        return status, output.read().decode(errors="replace")


def _wait(program: Bound, given_up: threading.Event) -> int:
    while program.status is None:
        if given_up.wait(0.05):
            program.end()
    return program.wait()
