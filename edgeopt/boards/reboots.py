"""Finds the model that reboots its board: a lost connection alone says nothing against anybody."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import contextmanager

from edgeopt.core.errors import BoardError, CandidateRebooted, ConnectError

MOST = 2
"""So many reboots are no accident."""


class Reboots:
    """What ran when the board went away, and whether it had rebooted when it came back.

    A board that boots anew has another `boot_id`. Who then ran is suspect, is to be tried alone, and is
    guilty if the board reboots again.
    """

    def __init__(self) -> None:
        self._boot: str | None = None
        self._running: tuple[str, ...] = ()
        self._counts: Counter[str] = Counter()
        self._acquitted = 0

    @contextmanager
    def running(self, runs: Sequence[str]) -> Iterator[None]:
        """These run, until it ends in any way but that the board goes away."""
        before = self._running
        try:
            yield
        except ConnectError:
            self._running = tuple(runs)
            raise
        except BaseException:
            self._running = before
            raise

    def connected(self, boot: str | None) -> None:
        """The board is there; `boot` is its `boot_id`, None if it does not tell."""
        if boot is not None and self._boot not in (None, boot):
            self._counts.update(self._running)
        self._boot, self._running = boot, ()

    def suspects(self, run: str) -> bool:
        return self._counts[run] > 0

    def require(self, run: str) -> None:
        """Refuse to run what reboots the board.

        Raises:
            CandidateRebooted: It has done so before, and again when it was tried alone.
        """
        if self._counts[run] >= MOST:
            raise CandidateRebooted("rebooted the board, and again when it was tried alone")

    def acquit(self, run: str, name: str) -> None:
        """It has run alone, and the board is still there.

        Raises:
            BoardError: So had others: no model is at fault.
        """
        del self._counts[run]
        self._acquitted += 1
        if self._acquitted > MOST:
            raise BoardError(
                f"{name} reboots again and again while it is measured, and no single model is at fault",
                hint="check its power supply and its watchdog; the same command resumes",
            )
