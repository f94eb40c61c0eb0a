"""A board that is off, or that the network has lost, is tried again for a while."""

from __future__ import annotations

import time
from collections.abc import Callable
from threading import Event
from typing import TypeVar

from edgeopt.boards import power
from edgeopt.core.errors import (
    BoardError,
    BusyError,
    ConnectError,
    HostKeyError,
    LoginError,
    RuntimeMissing,
)
from edgeopt.core.progress import Observer

Result = TypeVar("Result")

FIRST_WAIT_S = 1.0
LONGEST_WAIT_S = 30.0
FINAL = (BusyError, HostKeyError, LoginError, RuntimeMissing)
"""Where to try again changes nothing; for a busy board one has waited already."""


def patiently(
    ask: Callable[[], Result],
    name: str,
    wait_s: float,
    observer: Observer,
    stopping: Event | None = None,
    power_cycle: str | None = None,
) -> Result:
    """Ask a board, and ask again while it is unreachable, after 1, 2, 4 … 30 s.

    A board that stays silent has its power cycled, once, where `power_cycle` says how.

    Args:
        name: The board's.
        wait_s: How long, from the first failure on; 0: not again.
        observer: Is told why nothing happens.
        stopping: When it is set, nobody waits any longer.
        power_cycle: A command of this machine, see `boards.power`.

    Raises:
        ConnectError: Still unreachable, or there is no use in waiting.
    """
    from tenacity import Retrying, retry_if_exception, sleep_using_event, wait_exponential

    over = stopping or Event()
    outage = _Outage(name, wait_s, observer, power_cycle)
    attempts = Retrying(
        retry=retry_if_exception(lambda e: isinstance(e, ConnectError) and not isinstance(e, FINAL)),
        wait=wait_exponential(FIRST_WAIT_S, max=LONGEST_WAIT_S),
        stop=lambda _: over.is_set() or outage.is_over(),
        sleep=sleep_using_event(over),
        before_sleep=lambda state: outage.wait(state.outcome.exception() if state.outcome else None),
        reraise=True,
    )
    return attempts(ask)


class _Outage:
    """From the first failure on: what was answered before it does not count."""

    def __init__(self, name: str, wait_s: float, observer: Observer, power_cycle: str | None) -> None:
        self._name, self._wait_s, self._observer = name, wait_s, observer
        self._power_cycle = power_cycle
        self._since: float | None = None
        self._is_told = self._is_cycled = False

    @property
    def seconds(self) -> float:
        self._since = time.monotonic() if self._since is None else self._since
        return time.monotonic() - self._since

    def is_over(self) -> bool:
        return self.seconds >= self._wait_s

    def wait(self, why: BaseException | None) -> None:
        """Say so, and have the power cycled when it is time."""
        left_s = max(0.0, self._wait_s - self.seconds)
        line = f"{self._name} is unreachable; trying for {left_s:.0f} s more"
        if not self._is_told:  # a log, which shows no state, must say why nothing happens
            self._observer.announce(f"{line}: {why.message}" if isinstance(why, ConnectError) else line)
            self._is_told = True
        self._observer.board(line)
        if self._power_cycle and not self._is_cycled and self.seconds >= power.AFTER_S:
            self._is_cycled = True
            self._observer.announce(f"{self._name} is silent: its power is cycled ({self._power_cycle})")
            try:
                power.cycle(self._power_cycle, self._name)
            except BoardError as error:  # it may still come back by itself
                self._observer.announce(f"{error.message}; {error.hint}")
