"""Measures what each part of a winner brings: the winner and itself without the part, in turns."""

from __future__ import annotations

import math
import time
from collections.abc import Sequence
from dataclasses import replace

from edgeopt.core.artifact import Artifact, computing
from edgeopt.core.candidate import Candidate
from edgeopt.core.errors import CandidateFailed, MeasurementInvalid
from edgeopt.core.measurement import Measurement, Protocol
from edgeopt.core.quantity import Quantity
from edgeopt.core.trial import Trial
from edgeopt.optimize.job import Job
from edgeopt.optimize.patience import patiently
from edgeopt.options import Budget
from edgeopt.report.ratio import Z_95, modelled_ratio, paired_ratio
from edgeopt.study.ablations import Ablated, Ablations

PROCESSES = 4
"""Fresh processes of each side, at most: a paired interval needs a few; the final stage needs more, because
its verdict has no second look."""
FILE, HOST = "file", "host"
"""Where the size and the drop come from: what was built, and what this machine's kernels computed of it."""


class Ablating:
    """One winner on its study's board.

    Args:
        job: Opened in the study's own folder: what was calibrated and built is there.
        winner: The trial, with the measurement that its figures are shown of.
    """

    def __init__(self, job: Job, winner: Trial, kept: Ablations) -> None:
        self._job, self._kept = job, kept
        self._winner = job.evaluator.present(winner)
        final = job.protocols["final"]
        self._protocol: Protocol = replace(final, processes=min(final.processes, PROCESSES))
        self._counted: dict[tuple[str, str], Measurement | CandidateFailed] = {}
        self._drops: dict[tuple[str, str], float | None] = {}

    def measure(self, others: Sequence[Candidate], budget: Budget) -> None:
        """Measure, in order, what is not known yet, until the budget is spent; each result is kept at once.

        Args:
            others: The first is the original, which does not count against a budget in trials.

        Raises:
            BoardError: The board is gone, or cannot be measured; the same command goes on.
        """
        unknown = [one for one in others if self._kept.get(self._winner.candidate, one) is None]
        if not unknown:
            return
        board, evaluator = self._job.board, self._job.evaluator
        board.compare_with(evaluator.builder.build(self._job.space.default()), evaluator.feeds)
        self._job.observer.stage("explain", len(unknown))
        started, measured = time.monotonic(), 0
        for other in unknown:
            if budget.trials is not None and measured >= budget.trials and other != others[0]:
                return
            if budget.seconds is not None and time.monotonic() - started >= budget.seconds:
                return
            self._kept.keep(self._winner.candidate, other, self._ablated(other))
            measured += other != others[0]
            self._job.observer.advance()

    def _ablated(self, other: Candidate) -> Ablated:
        winner = self._winner.artifact
        assert winner is not None  # noqa: S101 - a winner was built
        try:
            artifact = self._job.evaluator.builder.build(other)
            sizes = winner.size_bytes - artifact.size_bytes
            effects = {"size": Quantity(sizes, "bytes", sizes, sizes, "measured", FILE)}
            if (drop := self._drop(winner, artifact)) is not None:
                effects["drop"] = drop
            return Ablated(effects | self._timed(winner, artifact))
        except CandidateFailed as error:
            return Ablated(reason=error.message)

    def _timed(self, winner: Artifact, other: Artifact) -> dict[str, Quantity]:
        """Latency and energy of the winner less the other's, in terms of the winner's known figures."""
        known = self._winner.measurement
        assert known is not None  # noqa: S101 - a winner was measured
        if winner.setup == other.setup:  # the decision changes nothing that is run
            mine = theirs = known
        else:
            mine, theirs = self._both(winner, other)
        rounds = theirs.process_p50_ms, mine.process_p50_ms
        found = {"latency": self._effect(known.latency, theirs.latency, mine.latency, *rounds)}
        if known.energy_mj and mine.energy_mj and theirs.energy_mj:
            rounds = theirs.process_energy_mj, mine.process_energy_mj
            found["energy"] = self._effect(known.energy_mj, theirs.energy_mj, mine.energy_mj, *rounds)
        return found

    def _both(self, winner: Artifact, other: Artifact) -> tuple[Measurement, Measurement]:
        job = self._job
        if job.board.provenance != "measured":  # what is counted or predicted is the same every time
            return self._counting(winner), self._counting(other)
        results = patiently(
            job, lambda: job.board.measure([winner, other], job.evaluator.feeds, self._protocol)
        )
        mine, theirs = (_checked(result) for result in results)
        return mine, theirs

    def _counting(self, artifact: Artifact) -> Measurement:
        job, key = self._job, artifact.setup
        if key not in self._counted:
            self._counted[key] = patiently(
                job, lambda: job.board.measure([artifact], job.evaluator.feeds, self._protocol)[0]
            )
        return _checked(self._counted[key])

    def _effect(
        self,
        known: Quantity,
        theirs: Quantity,
        mine: Quantity,
        their_rounds: Sequence[float],
        my_rounds: Sequence[float],
    ) -> Quantity:
        """`known * (1 - theirs / mine)`: of the winner, the figure is shown that its study ended with."""
        value = theirs.value / mine.value
        ratio = value, 0.0, math.inf
        if theirs is mine:
            ratio = 1.0, 1.0, 1.0
        elif self._job.board.provenance != "measured":
            ratio = modelled_ratio(value, self._job.board.pairwise_error, Z_95)
        elif paired := paired_ratio(their_rounds, my_rounds):
            ratio = paired
        value, low, high = ratio
        return Quantity(
            known.value * (1 - value), known.unit,
            known.value * (1 - high), known.value * (1 - low) if low > 0 else math.inf,
            mine.provenance, mine.source,
        )  # fmt: skip

    def _drop(self, winner: Artifact, other: Artifact) -> Quantity | None:
        mine, theirs = self._scored(winner), self._scored(other)
        if mine is None or theirs is None:
            return None
        value = mine - theirs
        reach = 0.0 if winner.sha256 == other.sha256 else math.inf
        return Quantity(value, "", value - reach, value + reach, "measured", HOST)

    def _scored(self, artifact: Artifact) -> float | None:
        """The drop on the search part; None where there are no data."""
        job = self._job
        if job.gate is None:
            return None
        key = (artifact.sha256, str(computing(artifact)))
        if key not in self._drops:
            accuracy = job.gate.score(job.evaluator.host_run(artifact), "search", full=True)
            self._drops[key] = accuracy.drop
        return self._drops[key]


def _checked(result: Measurement | CandidateFailed) -> Measurement:
    if isinstance(result, CandidateFailed):
        raise result
    if result.validity is not None:
        raise MeasurementInvalid(f"what was measured does not count: {result.validity}")
    return result
