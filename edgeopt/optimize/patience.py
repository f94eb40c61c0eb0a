"""An unreachable board pauses the study; it never scores a trial."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import TypeVar

from edgeopt.boards import power
from edgeopt.core.errors import BoardError, BusyError, ConnectError, HostKeyError, LoginError
from edgeopt.optimize.job import Job

Result = TypeVar("Result")

FIRST_WAIT_S = 1.0
LONGEST_WAIT_S = 30.0
FINAL = (BusyError, HostKeyError, LoginError)
"""Where to try again changes nothing; for a busy board one has waited already."""


def patiently(job: Job, ask: Callable[[], Result]) -> Result:
    """Ask the board, and ask again while it is unreachable, for at most `--wait`.

    A board that stays silent has its power cycled, once, where its configuration says how.

    Raises:
        ConnectError: Still unreachable; everything so far is saved.
    """
    from tenacity import (
        Retrying,
        retry_if_exception,
        sleep_using_event,
        wait_exponential,
    )

    outage = _Outage(job)

    def timed() -> Result:
        started = time.monotonic()
        try:
            return ask()
        finally:
            job.device_seconds += time.monotonic() - started

    attempts = Retrying(
        retry=retry_if_exception(lambda e: isinstance(e, ConnectError) and not isinstance(e, FINAL)),
        wait=wait_exponential(FIRST_WAIT_S, max=LONGEST_WAIT_S),
        stop=lambda _: outage.is_over(),
        sleep=sleep_using_event(job.stopping),
        before_sleep=lambda _: outage.wait(),
        reraise=True,
    )
    return attempts(timed)


class _Outage:
    """From the first failure on: what was measured before it does not count."""

    def __init__(self, job: Job) -> None:
        self._job, self._wait_s = job, job.options.board.wait_s
        self._since: float | None = None
        self._is_told = self._is_cycled = False

    @property
    def seconds(self) -> float:
        self._since = time.monotonic() if self._since is None else self._since
        return time.monotonic() - self._since

    def is_over(self) -> bool:
        return self._job.stopping.is_set() or self.seconds >= self._wait_s

    def wait(self) -> None:
        """Say so, and have the power cycled when it is time."""
        job, left_s = self._job, max(0.0, self._wait_s - self.seconds)
        line = f"{job.board.name} is unreachable; trying for {left_s:.0f} s more"
        if not self._is_told:  # a log, which shows no state, must say why nothing happens
            job.observer.announce(line)
            self._is_told = True
        job.observer.board(line)
        if job.power_cycle and not self._is_cycled and self.seconds >= power.AFTER_S:
            self._is_cycled = True
            job.observer.announce(f"{job.board.name} is silent: its power is cycled ({job.power_cycle})")
            try:
                power.cycle(job.power_cycle, job.board.name)
            except BoardError as error:  # it may still come back by itself
                job.observer.announce(f"{error.message}; {error.hint}")
