"""From a candidate to a trial: build, prove, gate, measure.

The order spends no board time on what the host can already refuse. `optimize`, `measure`, `replay` and
`calibrate` share it.
"""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from statistics import median

from edgeopt.boards import room
from edgeopt.boards.board import Board, Feeds
from edgeopt.core.artifact import Artifact, computing
from edgeopt.core.candidate import Candidate
from edgeopt.core.digest import value_digest
from edgeopt.core.errors import CandidateFailed, MeasurementInvalid, ModelError, RewriteError
from edgeopt.core.measurement import Measurement, Protocol
from edgeopt.core.objective import Objective
from edgeopt.core.trial import Accuracy, Kind, Trial
from edgeopt.data.accuracy import AccuracyGate
from edgeopt.data.streams import Run
from edgeopt.graph.builder import Builder

Prove = Callable[[bytes], None]
"""Compares a rewritten graph with the original on random and calibration inputs; raises RewriteError."""


@dataclass(frozen=True, slots=True)
class Prepared:
    """A candidate that the host has dealt with: built and gated, or refused with a reason."""

    candidate: Candidate
    artifact: Artifact | None = None
    accuracy: Accuracy | None = None
    infeasible: str | None = None
    failed: str | None = None


@dataclass(slots=True)
class Evaluator:
    """Turns candidates into trials on one board.

    Attributes:
        control: The original on the runtime's defaults: measured in turns with every candidate.
        control_p50_ms: Its median when the study began; None until the baseline has been measured.
        original_score: Of the metric on the search part; None without data.
        max_drift: A screening with the control further than this from its start is taken again.
        tries: How often, before the board is declared unfit.
        cooldown_s: Pause between tries.
        tell: Hears of each such pause.
        host_run: Loads an artifact on this machine, to compute single samples with.
    """

    builder: Builder
    board: Board
    objective: Objective
    feeds: Feeds
    prove: Prove
    gate: AccuracyGate | None
    max_drift: float
    tries: int
    cooldown_s: float
    host_run: Callable[[Artifact], Run]
    control: Artifact | None = None
    control_p50_ms: float | None = None
    original_score: float | None = None
    original: Trial | None = None
    tell: Callable[[str], None] = lambda _: None
    _drifts: deque[float] = field(default_factory=lambda: deque(maxlen=5))
    _proven: dict[str, str | None] = field(default_factory=dict)
    _scored: dict[tuple[str, str], Accuracy | str] = field(default_factory=dict)

    def prepare(self, candidate: Candidate, *, full: bool = False) -> Prepared:
        """Build, prove the rewrites, check the size and the accuracy on the search part. No board time.

        Args:
            full: Score on all samples, even when the drop can no longer pass or the file is too large.
        """
        try:
            artifact = self.builder.build(candidate)
        except CandidateFailed as error:
            return Prepared(candidate, failed=error.message)
        if refused := room.refusal(artifact, self.board.facts):
            return Prepared(candidate, failed=refused.message)
        prepared = Prepared(candidate, artifact)
        if broken := self._broken_rewrite(candidate):
            return replace(prepared, infeasible=broken)
        too_large = self.objective.size_violation(artifact) or self.objective.regression(
            "size", artifact.size_bytes, self.original
        )
        if too_large and not full:
            return replace(prepared, infeasible=too_large)
        try:
            accuracy = self._accuracy(artifact, full)
        except CandidateFailed as error:
            return replace(prepared, failed=error.message)
        violation = too_large or self.objective.accuracy_violation(accuracy, self.original_score)
        return replace(prepared, accuracy=accuracy, infeasible=violation)

    def present(self, trial: Trial) -> Trial:
        """The trial with its artifact's file in place: built again where somebody has cleaned up."""
        if trial.artifact is None or trial.artifact.path.is_file():
            return trial
        return replace(trial, artifact=self.builder.build(trial.candidate))

    def identity(self, artifact: Artifact, protocol: Protocol) -> str:
        """What a measurement is of: what was measured once is never measured again."""
        version = self.board.facts.runtimes.get(artifact.runtime)
        return value_digest(
            artifact.sha256, artifact.runtime, version, artifact.session_options,
            self.board.facts.epoch, str(protocol.setting), protocol.name, protocol.window_s,
        )  # fmt: skip

    def measure(self, artifact: Artifact, protocol: Protocol) -> Measurement:
        """Measure in turns with the control, until the control shows that the board has not drifted.

        What is counted or predicted does not drift: it is asked for once, without the control.

        Raises:
            CandidateFailed: The artifact crashed, ran out of memory or passed its deadline.
            MeasurementInvalid: The board drifted in every try, or broke another rule of the protocol.
        """
        if self.board.provenance != "measured":
            return self._counted(artifact, protocol)
        control = self.control or artifact
        alone = self.control is None or artifact == control
        for attempt in range(1, self.tries + 1):
            results = self.board.measure([control] if alone else [control, artifact], self.feeds, protocol)
            first, result = results[0], results[-1]
            if isinstance(result, CandidateFailed):
                raise result
            if isinstance(first, CandidateFailed):  # it has run before: that is no fault of the candidate's
                reason = f"the control model failed: {first.message}"
            else:
                drift = first.p50_ms / (self.control_p50_ms or first.p50_ms)
                unmetered = self._unmetered(result)
                if abs(drift - 1) <= self.max_drift and unmetered is None:
                    felt = self._felt(result, drift)
                    self._drifts.append(drift)
                    return replace(result, drift=felt)
                reason = unmetered or (
                    f"the control model takes {drift:.2f} times what it took at the start, "
                    f"{1 + self.max_drift:g} is allowed"
                )
            if attempt < self.tries:
                again = f"try {attempt + 1} of {self.tries}, after {self.cooldown_s:g} s"
                self.tell(f"{self.board.name}: {reason}; {again}")
                time.sleep(self.cooldown_s)
        raise MeasurementInvalid(
            f"{self.board.name} cannot be measured: {reason}, in {self.tries} tries",
            hint="let the board cool and stop what else runs on it; the same command resumes",
        )

    def _unmetered(self, result: Measurement) -> str | None:
        """Why there is no energy where one is asked for; None where there is, or nobody asks.

        Who was given up as hopelessly slow ran for too short a time to have one, and would again.
        """
        if self.objective.name != "energy" or result.energy_mj is not None or result.stopped_early:
            return None
        return result.energy_note or "nothing tells its energy"

    def _counted(self, artifact: Artifact, protocol: Protocol) -> Measurement:
        result = self.board.measure([artifact], self.feeds, protocol)[0]
        if isinstance(result, CandidateFailed):
            raise result
        if result.validity is not None:
            raise MeasurementInvalid(f"{self.board.name} cannot be measured: {result.validity}")
        control_ms = self.control_p50_ms or result.p50_ms
        return replace(result, control_ratio=result.p50_ms / control_ms if control_ms else None)

    def _felt(self, result: Measurement, drift: float) -> float:
        """How much slower the board was in just this artifact's turns, from the control's turns beside them.

        What slows the board for a second hits a few turns of both: their paired ratio does not see it, the
        two medians do. The control has noise of its own (two threads that wait for each other are fast or
        slow by chance), so one reading is believed only as far as the last one or the usual one bears it out.
        """
        if result.control_ratio is None or self.control_p50_ms is None:
            return drift
        before = self._drifts or (drift,)
        felt = result.p50_ms / (result.control_ratio * self.control_p50_ms)
        return median((felt, before[-1], median(before)))

    def trial(
        self, number: int, prepared: Prepared, protocol: Protocol, kind: Kind = "candidate", name: str = ""
    ) -> Trial:
        """Measure what `prepare` let through, and references even if they lose too much accuracy.

        A reference that breaks the constraint still tells what a whole-model recipe costs on this board.
        """
        trial = Trial(
            number, prepared.candidate, "COMPLETE", kind, name or f"candidate-{number}",
            prepared.artifact, None, prepared.accuracy, prepared.failed or prepared.infeasible,
        )  # fmt: skip
        if prepared.failed is not None or prepared.artifact is None:
            return replace(trial, state="FAILED")
        if prepared.infeasible is not None and kind == "candidate":
            return replace(trial, state="INFEASIBLE")
        try:
            measurement = self.measure(prepared.artifact, protocol)
        except CandidateFailed as error:
            return replace(trial, state="FAILED", reason=error.message)
        reason = (
            prepared.infeasible
            or self.objective.limit_violation(measurement)
            or self.objective.regression("memory", measurement.peak_rss_bytes, self.original)
            or self.objective.regression("latency", self._beside_the_control(measurement), self.original)
        )
        figure = self.objective.value(measurement, prepared.artifact)
        if reason is None and figure is None and measurement.stopped_early:
            reason = f"given up as hopelessly slow, before its {self.objective.name} could be told"
        return replace(
            trial, measurement=measurement, state="INFEASIBLE" if reason else "COMPLETE", reason=reason
        )

    def _beside_the_control(self, measurement: Measurement) -> float:
        """The latency in ms that it would have had when the original was measured."""
        if measurement.control_ratio is None or self.control_p50_ms is None:
            return measurement.p50_ms / (measurement.drift or 1.0)
        return measurement.control_ratio * self.control_p50_ms

    def _broken_rewrite(self, candidate: Candidate) -> str | None:
        switched_on = {s: o for s, o in candidate.of_family("rewrite").items() if o != "off"}
        if not switched_on:
            return None
        key = value_digest(switched_on)
        if key not in self._proven:
            try:
                self.prove(self.builder.rewritten(candidate))
                self._proven[key] = None
            except RewriteError as error:
                self._proven[key] = f"a rewrite changed the outputs: {error.message}"
        return self._proven[key]

    def _accuracy(self, artifact: Artifact, full: bool) -> Accuracy | None:
        if self.gate is None:
            return None
        key = (artifact.sha256, str(computing(artifact)))
        if key not in self._scored:
            try:
                self._scored[key] = self.gate.score(self.host_run(artifact), "search", full=full)
            except (CandidateFailed, ModelError) as error:
                self._scored[key] = error.message
        scored = self._scored[key]
        if isinstance(scored, str):
            raise CandidateFailed(scored)
        return scored
