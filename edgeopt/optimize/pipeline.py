"""Keeps a remote board busy: the next candidate is built while the last one is measured."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from types import TracebackType
from typing import Self

from edgeopt.core.trial import Trial

Work = Callable[[], Trial]


class Pipeline:
    """At most one trial at work on the board.

    With `ahead` it works in a thread of its own, and `result` is asked for when the next one is ready.
    Without, as on this machine, where the host's work would disturb the measurement, `start` returns when
    the trial is done.

    Args:
        give_up: Called when the caller leaves early (Ctrl-C, an error): ends the work that is under way.
    """

    def __init__(self, ahead: bool, give_up: Callable[[], None]) -> None:
        self._pool = ThreadPoolExecutor(1) if ahead else None
        self._give_up = give_up
        self._at_work: Future[Trial] | None = None

    @property
    def is_busy(self) -> bool:
        """A result is waiting, or will be."""
        return self._at_work is not None

    def start(self, work: Work) -> None:
        """Begin; the last result must have been taken."""
        if self._at_work is not None:
            raise RuntimeError("the last result was not taken")
        if self._pool is not None:
            self._at_work = self._pool.submit(work)
            return
        done: Future[Trial] = Future()
        done.set_result(work())
        self._at_work = done

    def result(self) -> Trial:
        """Wait for the trial; raises what its work raised."""
        if self._at_work is None:
            raise RuntimeError("nothing is at work")
        at_work, self._at_work = self._at_work, None
        try:
            return at_work.result()
        except KeyboardInterrupt:
            self._at_work = at_work
            raise

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if kind is not None and self._at_work is not None:
            self._give_up()
        if self._pool is not None:
            self._pool.shutdown(wait=True)
