"""An unreachable board pauses the study; it never scores a trial."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import TypeVar

from edgeopt.core.errors import ConnectError
from edgeopt.optimize.job import Job

Result = TypeVar("Result")

FIRST_WAIT_S = 1.0
LONGEST_WAIT_S = 30.0


def patiently(job: Job, ask: Callable[[], Result]) -> Result:
    """Ask the board, and ask again while it is unreachable, for at most `--wait`.

    Raises:
        ConnectError: Still unreachable; everything so far is saved.
    """
    from tenacity import (
        RetryCallState,
        Retrying,
        retry_if_exception_type,
        sleep_using_event,
        stop_after_delay,
        stop_when_event_set,
        wait_exponential,
    )

    wait_s = job.options.board.wait_s

    def timed() -> Result:
        started = time.monotonic()
        try:
            return ask()
        finally:
            job.device_seconds += time.monotonic() - started

    def say(state: RetryCallState) -> None:
        left_s = max(0.0, wait_s - (state.seconds_since_start or 0.0))
        line = f"{job.board.name} is unreachable; trying for {left_s:.0f} s more"
        if state.attempt_number == 1:  # a log, which shows no state, must say why nothing happens
            job.observer.announce(line)
        job.observer.board(line)

    attempts = Retrying(
        retry=retry_if_exception_type(ConnectError),
        wait=wait_exponential(FIRST_WAIT_S, max=LONGEST_WAIT_S),
        stop=stop_after_delay(wait_s) | stop_when_event_set(job.stopping),
        sleep=sleep_using_event(job.stopping),
        before_sleep=say,
        reraise=True,
    )
    return attempts(timed)
