"""Finds the model that reboots its board, or kills the runner there: a lost connection alone says nothing
against anybody."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace

from edgeopt.core.artifact import Artifact
from edgeopt.core.errors import (
    BoardError,
    CandidateFailed,
    CandidateKilledRunner,
    CandidateRebooted,
    ConnectError,
)
from edgeopt.core.measurement import Measurement

Results = list[Measurement | CandidateFailed]

MOST = 2
"""So many times are no accident."""


@dataclass(frozen=True, slots=True)
class Deed:
    """What a model may do to a board.

    Attributes:
        error: What becomes of who did it.
        words: What happened, for "`words`, and again when it was tried alone".
        happened: The same of the board, while nobody is guilty yet.
        everybody: What the board does if no single model is at fault, and what to look at.
    """

    error: type[CandidateFailed]
    words: str
    happened: str
    everybody: tuple[str, str]


REBOOT = Deed(
    CandidateRebooted, "rebooted the board", "it has rebooted",
    ("reboots", "check its power supply and its watchdog; the same command resumes"),
)  # fmt: skip
KILL = Deed(
    CandidateKilledRunner, "killed the on-board runner", "its runner was killed",
    ("kills edgeopt's runner", "dmesg there tells whether memory ended; the same command resumes"),
)  # fmt: skip


class Suspects:
    """What ran when the connection broke, and what had happened when the board was there again.

    A board that boots anew has another `boot_id`; a runner that ends because its connection does signs off,
    so one that did not was killed. Who then ran is suspect, is to be tried alone, and is guilty if the same
    happens again. A runner that signs off, or is still there, tells of a network that failed.
    """

    def __init__(self) -> None:
        self._boot: str | None = None
        self._running: tuple[str, ...] = ()
        self._counts: dict[str, tuple[Deed, int]] = {}
        self._acquitted: Counter[Deed] = Counter()
        self.suspicion: Deed | None = None
        """What the last connection that broke made somebody suspect of."""

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

    def connected(self, boot: str | None, was_killed: bool = False) -> None:
        """The board is there.

        Args:
            boot: Its `boot_id`, None if it does not tell.
            was_killed: The runner of before had been killed, not cut off.
        """
        rebooted = boot is not None and self._boot not in (None, boot)
        deed = REBOOT if rebooted else KILL if was_killed else None
        self.suspicion = deed if self._running else None
        if deed:
            self._counts |= {run: (deed, self._counts.get(run, (deed, 0))[1] + 1) for run in self._running}
        self._boot, self._running = boot, ()

    def measured(
        self, artifacts: Sequence[Artifact], measure: Callable[[Sequence[Artifact]], Results], name: str
    ) -> Results:
        """Measure together, but who is suspect first alone.

        Args:
            measure: Measures some together; the first is the control.
            name: The board's.

        Raises:
            BoardError: It reboots, or kills its runner, whatever runs.
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
        return run in self._counts

    def require(self, run: str) -> None:
        """Refuse to run what reboots the board or kills its runner.

        Raises:
            CandidateRebooted, CandidateKilledRunner: It has done so, and again when it was tried alone.
        """
        if run in self._counts and self._counts[run][1] >= MOST:
            deed = self._counts[run][0]
            raise deed.error(f"{deed.words}, and again when it was tried alone")

    def acquit(self, run: str, name: str) -> None:
        """It has run alone, and the board is still there.

        Raises:
            BoardError: So had others: no model is at fault.
        """
        deed, _ = self._counts.pop(run)
        self._acquitted[deed] += 1
        if self._acquitted[deed] > MOST:
            does, hint = deed.everybody
            raise BoardError(
                f"{name} {does} again and again while it is measured, and no single model is at fault", hint
            )


def run_key(artifact: Artifact) -> str:
    """What is run: the same file may be run with other options."""
    return f"{artifact.sha256} {sorted(artifact.session_options.items())}"


def uncontrolled(result: Measurement | CandidateFailed) -> Measurement | CandidateFailed:
    """Related to no control."""
    return replace(result, control_ratio=None) if isinstance(result, Measurement) else result
