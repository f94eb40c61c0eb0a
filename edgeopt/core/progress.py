"""How a long job tells whoever is watching: a terminal, a log, or nobody."""

from __future__ import annotations

from types import TracebackType
from typing import Self

from edgeopt.core.trial import Trial


class Observer:
    """Watches a job. Every method does nothing: a job needs no `if`, a view overrides what it shows.

    An observer never changes the job: what it raises is a bug, apart from `KeyboardInterrupt`.
    """

    def announce(self, line: str) -> None:
        """A sentence to be read and kept: which board and why, what data would add, a pause, a resumption."""

    def stage(self, name: str, total: int | None = None) -> None:
        """A new part of the job begins (`references`, `search`, `final`); `total` steps, None if unknown."""

    def advance(self, steps: int = 1) -> None:
        """Some steps of the stage are done."""

    def trial(self, trial: Trial) -> None:
        """A trial ended, in whatever state."""

    def best(self, trial: Trial) -> None:
        """This trial is now the best that satisfies everything."""

    def board(self, state: str) -> None:
        """How the board is (`52 °C, 1.8 GHz, drift +0.4 %`), in one short line."""

    def budget(self, left: str, used: float | None = None) -> None:
        """What is left of the budget, in words (`23 trials left`); `used` is its fraction, 0..1."""

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """The job is over: give the terminal back."""
