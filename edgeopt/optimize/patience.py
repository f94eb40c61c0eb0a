"""An unreachable board pauses the study; it never scores a trial."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import TypeVar

from edgeopt.boards import patience
from edgeopt.optimize.job import Job

Result = TypeVar("Result")


def patiently(job: Job, ask: Callable[[], Result]) -> Result:
    """Ask the board, and ask again while it is unreachable, for at most `--wait`.

    Raises:
        ConnectError: Still unreachable; everything so far is saved.
    """

    def timed() -> Result:
        started = time.monotonic()
        try:
            return ask()
        finally:
            job.device_seconds += time.monotonic() - started

    return patience.patiently(
        timed, job.board.name, job.options.board.pause_s, job.observer, job.stopping, job.power_cycle
    )
