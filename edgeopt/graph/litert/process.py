"""A foreign program with a deadline, of which nothing is left when it is over."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
from collections.abc import Mapping, Sequence
from pathlib import Path


def run(
    command: Sequence[str | Path],
    variables: Mapping[str, str],
    log: Path,
    deadline_s: float,
    *,
    folder: Path | None = None,
    inherited: Sequence[int] = (),
) -> int | None:
    """Its exit code (negative: the signal that ended it); None if it was killed at the deadline.

    Args:
        variables: Its whole environment.
        log: Receives all that it prints.
        folder: Where it works; None is here.
        inherited: Descriptors that stay open in it.

    Raises:
        OSError: It cannot be started, or the log cannot be written.
    """
    with log.open("wb") as stream:
        child = subprocess.Popen(
            command, env=dict(variables), cwd=folder, stdin=subprocess.DEVNULL, stdout=stream, stderr=stream,
            pass_fds=inherited, start_new_session=True,
        )  # fmt: skip
        try:
            return child.wait(deadline_s)
        except subprocess.TimeoutExpired:
            return None
        finally:  # also at Ctrl-C, which a process in a session of its own does not hear
            with contextlib.suppress(ProcessLookupError):
                os.killpg(child.pid, signal.SIGKILL)
            child.wait()
