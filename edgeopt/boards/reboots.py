"""Finds the model that reboots its board: a lost connection alone says nothing against anybody."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace

from edgeopt.core.artifact import Artifact
from edgeopt.core.errors import BoardError, CandidateFailed, CandidateRebooted, ConnectError
from edgeopt.core.measurement import Measurement

Results = list[Measurement | CandidateFailed]

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

    def measured(
        self, artifacts: Sequence[Artifact], measure: Callable[[Sequence[Artifact]], Results], name: str
    ) -> Results:
        """Measure together, but what ran when the board rebooted first alone.

        Args:
            measure: Measures some together; the first is the control.
            name: The board's.

        Raises:
            BoardError: It reboots whatever runs.
        """
        alone: dict[int, Measurement | CandidateFailed] = {}
        for index, artifact in enumerate(artifacts):
            if self.suspects(key := run_key(artifact)):
                try:
                    self.require(key)
                    (alone[index],) = measure([artifact])
                    self.acquit(key, name)
                except CandidateFailed as failed:
                    alone[index] = failed
        if len(artifacts) == len(alone) == 1:
            return [alone[0]]
        failed_ones = {index: one for index, one in alone.items() if isinstance(one, CandidateFailed)}
        well = [index for index in range(len(artifacts)) if index not in failed_ones]
        together = measure([artifacts[index] for index in well]) if well else []
        results = failed_ones | dict(zip(well, together, strict=True))
        ordered = [results[index] for index in range(len(artifacts))]
        # Without its control, nobody is related to another one instead.
        return [uncontrolled(result) for result in ordered] if 0 in failed_ones else ordered

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


def run_key(artifact: Artifact) -> str:
    """What is run: the same file may be run with other options."""
    return f"{artifact.sha256} {sorted(artifact.session_options.items())}"


def uncontrolled(result: Measurement | CandidateFailed) -> Measurement | CandidateFailed:
    """Related to no control."""
    return replace(result, control_ratio=None) if isinstance(result, Measurement) else result
