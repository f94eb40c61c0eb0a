"""The final stage: fresh processes, in turns, on data that the search never saw."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Literal

from edgeopt.core.artifact import Artifact
from edgeopt.core.errors import CandidateFailed
from edgeopt.core.trial import Accuracy, Trial
from edgeopt.optimize.batch import BatchedSamples, Run
from edgeopt.optimize.job import Job
from edgeopt.optimize.patience import patiently
from edgeopt.optimize.verdict import Contender, Verdict, decide, regressions

MOST_FINALISTS = 3


@dataclass(frozen=True, slots=True)
class Final:
    """How a study ended.

    Attributes:
        contenders: The original first, then the best feasible reference, then the finalists.
        verified_on: Where the winner's outputs on the confirm part were computed; None without data.
    """

    verdict: Verdict
    winner: Contender
    contenders: tuple[Contender, ...]
    verified_on: Literal["board", "host"] | None


def run_final(job: Job) -> Final:
    """Measure the original, the best feasible reference and the finalists together, and decide.

    Raises:
        BoardError: The board is gone, or cannot be measured.
        CandidateFailed: The original itself fails in the final stage.
    """
    original, reference, finalists = select(job)
    others = [trial for trial in (reference, *finalists) if trial is not None]
    comparisons = max(1, len(others))
    job.observer.stage("final", 1 + len(others))
    accuracies = [_confirm(job, trial, comparisons) for trial in others]
    contenders = _measure_together(job, [original, *others])
    first = replace(contenders[0], accuracy=_confirm(job, original, comparisons))
    job.confirm_score = first.accuracy.score if first.accuracy else None
    judged = [
        _judge(job, contender, first, accuracy, comparisons)
        for contender, accuracy in zip(contenders[1:], accuracies, strict=True)
    ]
    first = replace(first, rejected=job.options.objective.limit_violation(first.measurement))
    return _verified(job, first, judged, has_reference=reference is not None, comparisons=comparisons)


def _verified(
    job: Job, original: Contender, judged: Sequence[Contender], *, has_reference: bool, comparisons: int
) -> Final:
    """Decide; the winner's outputs are checked on the board itself, and one that fails there has lost."""
    judged = list(judged)
    while True:
        reference, finalists = (judged[0], judged[1:]) if has_reference else (None, judged)
        verdict, winner = decide(original, reference, finalists, job.options.objective, job.predicted_error)
        accuracy, verified_on = _verify(job, winner, comparisons)
        checked = replace(winner, accuracy=accuracy)
        violation = job.options.objective.accuracy_violation(accuracy, job.confirm_score)
        if winner is original or violation is None:
            contenders = [checked if c is winner else c for c in (original, *judged)]
            return Final(verdict, checked, tuple(contenders), verified_on)
        judged[judged.index(winner)] = replace(checked, rejected=f"on the board, {violation}")


def select(job: Job) -> tuple[Trial, Trial | None, list[Trial]]:
    """The original, the best feasible reference, and at most three better finalists, each file once."""
    trials = job.store.trials
    original = next(trial for trial in trials if trial.kind == "baseline")
    objective = job.options.objective

    def figure(trial: Trial) -> float:
        value = objective.of_trial(trial)
        return float("inf") if value is None else value

    def setup(trial: Trial) -> tuple[str, str]:
        assert trial.artifact is not None  # noqa: S101 - a figure needs an artifact
        return trial.artifact.sha256, repr(sorted(trial.artifact.session_options.items()))

    feasible = sorted((t for t in trials if objective.of_trial(t) is not None), key=figure)
    reference = next((t for t in feasible if t.kind == "reference" and setup(t) != setup(original)), None)
    chosen = {setup(trial) for trial in (original, reference) if trial is not None}
    bar = min(figure(trial) for trial in (original, reference) if trial is not None)
    finalists: list[Trial] = []
    for trial in feasible:
        # A screening carries noise, so one that looks slightly worse than the bar may still be better.
        if len(finalists) == MOST_FINALISTS or figure(trial) > bar * job.screening_slack:
            break
        if setup(trial) not in chosen and trial.kind == "candidate":
            chosen.add(setup(trial))
            finalists.append(trial)
    return original, reference, finalists


def _measure_together(job: Job, trials: Sequence[Trial]) -> list[Contender]:
    artifacts = [trial.artifact for trial in trials if trial.artifact is not None]
    protocol = job.protocols["final"]
    results = patiently(job, lambda: job.board.measure(artifacts, job.evaluator.feeds, protocol))
    contenders = []
    for trial, artifact, result in zip(trials, artifacts, results, strict=True):
        job.observer.advance()
        if not isinstance(result, CandidateFailed):
            contenders.append(Contender(trial, artifact, result))
        elif trial is trials[0]:
            raise result
        else:
            assert trial.measurement is not None  # noqa: S101 - finalists were screened
            contenders.append(Contender(trial, artifact, trial.measurement, rejected=result.message))
    return contenders


def _judge(
    job: Job, contender: Contender, original: Contender, accuracy: Accuracy | None, comparisons: int
) -> Contender:
    """Why a contender cannot win: accuracy on confirm, a hard limit, or something else that got worse."""
    objective = job.options.objective
    original_score = job.confirm_score
    worse = regressions(contender, original, objective)
    rejected = (
        contender.rejected
        or objective.accuracy_violation(accuracy, original_score)
        or _unproven(job, accuracy, original_score, comparisons)
        or objective.limit_violation(contender.measurement)
        or ("; ".join(worse) if worse else None)
    )
    return replace(contender, accuracy=accuracy, rejected=rejected, worse=worse)


def _unproven(
    job: Job, accuracy: Accuracy | None, original_score: float | None, comparisons: int
) -> str | None:
    """Refuse what these data could have established but did not.

    Where there are too few samples to establish anything, even a candidate without one changed answer, the
    point estimate decides and the verdict says "not established".
    """
    if job.gate is None or accuracy is None or accuracy.bound is None or original_score is None:
        return None
    allowed = job.options.objective.max_drop.allowed(original_score)
    if accuracy.bound <= allowed or job.gate.least_bound(comparisons) > allowed:
        return None
    return f"the accuracy drop may be as large as {accuracy.bound:.4f}, {allowed:.4f} is allowed"


def _confirm(job: Job, trial: Trial, comparisons: int) -> Accuracy | None:
    if job.gate is None or trial.artifact is None:
        return None
    return job.gate.bound(job.evaluator.host_run(trial.artifact), comparisons)


def _verify(
    job: Job, winner: Contender, comparisons: int
) -> tuple[Accuracy | None, Literal["board", "host"] | None]:
    """The accuracy of outputs that the board computed: its int8 kernels are its own."""
    if job.gate is None:
        return None, None
    if job.board.provenance == "predicted":
        return winner.accuracy, "host"
    gate = job.gate
    return patiently(job, lambda: gate.bound(_board_run(job, winner.artifact), comparisons)), "board"


def _board_run(job: Job, artifact: Artifact) -> Run:
    """Inference on the board; the gate goes through *confirm* in order, so outputs are asked for ahead."""
    parts, batch = job.inputs.parts, job.inputs.batch
    assert parts is not None  # noqa: S101 - there is a gate, so there is data
    if job.options.data.state and parts.confirm.groups is not None:  # each input depends on the last output
        return batch.run(lambda feeds: next(iter(job.board.infer(artifact, [feeds]))))
    outputs = job.board.infer(artifact, BatchedSamples(parts.confirm, batch).samples())
    return lambda _: batch.first(next(outputs))
