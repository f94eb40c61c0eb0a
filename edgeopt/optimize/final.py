"""The final stage: fresh processes, in turns, on data that the search never saw."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Literal

from edgeopt.core.artifact import Artifact
from edgeopt.core.candidate import ONNXRUNTIME
from edgeopt.core.errors import CandidateFailed
from edgeopt.core.measurement import Protocol
from edgeopt.core.objective import Objective
from edgeopt.core.trial import Accuracy, Kind, Trial
from edgeopt.data.split import Part
from edgeopt.optimize.batch import Run
from edgeopt.optimize.chances import with_a_likely_one
from edgeopt.optimize.job import Job
from edgeopt.optimize.patience import patiently
from edgeopt.optimize.verdict import Contender, Verdict, decide, regressions

MOST_FINALISTS = 3
MOST_REFERENCES = 3
EMULATED_SLOWDOWN = 30.0
"""Emulated seconds of the host per second of one core of the board, roughly."""
DOMINATED_RATIO = 1.25
"""Who is so much slower than the original in each of three processes or more is measured no further."""
MOST_VERIFYING_S = 180.0
"""What checking the winner's accuracy on a virtual board may take."""


@dataclass(frozen=True, slots=True)
class Final:
    """How a study ended.

    Attributes:
        contenders: The original first, then the best feasible references, then the finalists.
        verified_on: Where the winner's outputs on the confirm part were computed; None without data.
    """

    verdict: Verdict
    winner: Contender
    contenders: tuple[Contender, ...]
    verified_on: Literal["board", "host"] | None


def run_final(job: Job) -> Final:
    """Measure the original, the best feasible references and the finalists together, and decide.

    Raises:
        BoardError: The board is gone, or cannot be measured.
        CandidateFailed: The original itself fails in the final stage.
    """
    selected = select(job)
    original, references, finalists = job.evaluator.present(selected[0]), selected[1], selected[2]
    others = [job.evaluator.present(trial) for trial in (*references, *finalists)]
    comparisons = max(1, len(others))
    job.observer.stage("final", 1 + len(others))
    accuracies = [_confirm(job, trial, comparisons) for trial in others]
    contenders = _measure_together(job, [original, *others])
    own = _own_accuracy(job, original)
    first = replace(contenders[0], accuracy=own, rejected=_over_a_limit(job, contenders[0]))
    job.confirm_score = first.accuracy.score if first.accuracy else None
    judged = [
        _judge(job, contender, first, accuracy, comparisons)
        for contender, accuracy in zip(contenders[1:], accuracies, strict=True)
    ]
    return _verified(job, first, judged, len(references), comparisons)


def _verified(
    job: Job, original: Contender, judged: Sequence[Contender], references: int, comparisons: int
) -> Final:
    """Decide; the winner's outputs are checked on the board itself. One that drops too far there has lost; so
    has one whose drop the data could have bounded there and did not: the rule is the host's.

    Args:
        judged: `references` references, then the finalists.
    """
    judged = list(judged)
    while True:
        verdict, winner = decide(
            original,
            judged[:references],
            judged[references:],
            job.options.objective,
            job.board.pairwise_error,
        )
        accuracy, verified_on = _verify(job, winner, comparisons)
        checked = replace(winner, accuracy=accuracy)
        violation = job.options.objective.accuracy_violation(accuracy, job.confirm_score)
        if verified_on == "board":
            violation = violation or _unproven(job, accuracy, job.confirm_score, comparisons, elsewhere=True)
        if winner is original or violation is None:
            contenders = [checked if c is winner else c for c in (original, *judged)]
            return Final(verdict, checked, tuple(contenders), verified_on)
        judged[judged.index(winner)] = replace(checked, rejected=f"on the board, {violation}")


def select(job: Job) -> tuple[Trial, list[Trial], list[Trial]]:
    """The original, the best feasible references, and at most three finalists, each set-up once.

    References that a screening cannot tell from the best one take part as well: the result has to hold
    against each of them. The last finalist may be one that is likelier to hold its accuracy (`chances`).
    """
    trials = job.store.trials
    original = next(trial for trial in trials if trial.kind == "baseline")
    objective = job.options.objective
    feasible = [trial for trial in trials if objective.of_trial(trial) is not None]
    chosen = {setup(original)}

    def contest(kind: Kind, rivals: Sequence[Trial], most: int) -> list[Trial]:
        found: list[Trial] = []
        # By the figure corrected for drift, and as it was clocked: the control has noise of its own, and a
        # correction by it must not hide who was fast.
        for figure in (_clocked, _corrected):
            bar = min((figure(objective, trial) for trial in rivals), default=float("inf"))
            for trial in _in_order(job, [t for t in feasible if t.kind == kind], figure):
                if trial.kind != kind or setup(trial) in chosen or len(found) == most:
                    continue
                # A screening carries noise: one that looks slightly worse than the bar may be better.
                if figure(objective, trial) <= bar * job.screening_slack:
                    chosen.add(setup(trial))
                    found.append(trial)
            most += 1  # one place is kept for the other order
        return found

    recipes = [trial for trial in feasible if trial.kind == "reference"]
    references = contest("reference", recipes, MOST_REFERENCES - 1)
    standing = [trial for trial in feasible if trial.kind != "candidate"]
    finalists = contest("candidate", standing, MOST_FINALISTS - 1)
    others = [t for t in feasible if t.kind == "candidate" and setup(t) not in chosen]
    figures = {trial.number: _corrected(objective, trial) for trial in feasible}
    bar = min((figures[trial.number] for trial in standing), default=float("inf"))
    return original, references, with_a_likely_one(job, finalists, others, figures, bar)


def _in_order(job: Job, trials: Sequence[Trial], figure: Callable[[Objective, Trial], float]) -> list[Trial]:
    """Best first; of those that a model cannot tell from the best, who changes least comes first."""
    objective, error = job.options.objective, job.board.pairwise_error
    best = min((figure(objective, trial) for trial in trials), default=float("inf"))
    tied = best * (1 + error if objective.is_modelled else 1.0)
    default = job.space.default()

    def key(trial: Trial) -> tuple[bool, float, int]:
        value = figure(objective, trial)
        if error and value <= tied:
            return False, len(trial.candidate.changes(default)), trial.number
        return bool(error), value, trial.number

    return sorted(trials, key=key)


def _corrected(objective: Objective, trial: Trial) -> float:
    return objective.of_trial(trial) or float("inf")


def _clocked(objective: Objective, trial: Trial) -> float:
    if trial.measurement is None:
        return float("inf")
    return _corrected(objective, replace(trial, measurement=replace(trial.measurement, drift=1.0)))


def setup(trial: Trial) -> tuple[str, str]:
    """What is run: trials that decide otherwise may come to the same."""
    assert trial.artifact is not None  # noqa: S101 - what was measured was built
    return trial.artifact.setup


def _measure_together(job: Job, trials: Sequence[Trial]) -> list[Contender]:
    if job.board.provenance != "measured":
        return _as_counted(job, trials)
    artifacts = [trial.artifact for trial in trials if trial.artifact is not None]
    protocol = _stopping(job, trials[0])
    results = patiently(job, lambda: job.board.measure(artifacts, job.evaluator.feeds, protocol))
    contenders = []
    for trial, artifact, result in zip(trials, artifacts, results, strict=True):
        job.observer.advance()
        if not isinstance(result, CandidateFailed):
            slow = f"more than {DOMINATED_RATIO:g} times as slow as the original in its first processes"
            contenders.append(
                Contender(trial, artifact, result, rejected=slow if result.stopped_early else None)
            )
        elif trial is trials[0]:
            raise result
        else:
            assert trial.measurement is not None  # noqa: S101 - finalists were screened
            contenders.append(Contender(trial, artifact, trial.measurement, rejected=result.message))
    return contenders


def _stopping(job: Job, original: Trial) -> Protocol:
    """The final stage's protocol: where the latency decides, who is clearly slower than the original is given
    up, for only who beats it can win. An original that breaks a limit need not be beaten."""
    protocol = job.protocols["final"]
    may_stop = job.options.objective.name == "latency" and original.state == "COMPLETE"
    return replace(protocol, dominated_ratio=DOMINATED_RATIO) if may_stop else protocol


def _as_counted(job: Job, trials: Sequence[Trial]) -> list[Contender]:
    """What was counted or predicted once is exact: it carries no luck that a second time would remove."""
    contenders = []
    for trial in trials:
        assert trial.artifact is not None  # noqa: S101 - who is selected was built and counted
        assert trial.measurement is not None  # noqa: S101
        contenders.append(Contender(trial, trial.artifact, replace(trial.measurement, protocol="final")))
        job.observer.advance()
    return contenders


def _judge(
    job: Job, contender: Contender, original: Contender, accuracy: Accuracy | None, comparisons: int
) -> Contender:
    """Why a contender cannot win: accuracy on confirm, a hard limit, or something else that got worse.

    What may get worse is told and no more, and so is all of it where the original breaks a hard limit: else
    nothing would be left.
    """
    objective = job.options.objective
    original_score = job.confirm_score
    worse = regressions(contender, original, objective)
    too_bad = [line for name, line in worse.items() if name not in objective.allow_worse]
    rejected = (
        contender.rejected
        or objective.accuracy_violation(accuracy, original_score)
        or _unproven(job, accuracy, original_score, comparisons)
        or _over_a_limit(job, contender)
        or ("; ".join(too_bad) if original.rejected is None else "")
        or None
    )
    return replace(contender, accuracy=accuracy, rejected=rejected, worse=tuple(worse.values()))


def _over_a_limit(job: Job, contender: Contender) -> str | None:
    objective = job.options.objective
    return objective.size_violation(contender.artifact) or objective.limit_violation(contender.measurement)


def _unproven(
    job: Job,
    accuracy: Accuracy | None,
    original_score: float | None,
    comparisons: int,
    *,
    elsewhere: bool = False,
) -> str | None:
    """Refuse what these data could have established but did not.

    Where there are too few samples to establish anything, even a candidate without one changed answer, the
    point estimate decides and the verdict says "not established".

    Args:
        elsewhere: On the board, where a sequential test looks.
    """
    if job.gate is None or accuracy is None or accuracy.bound is None or original_score is None:
        return None
    allowed = job.options.objective.max_drop.allowed(original_score)
    least = job.gate.least_bound(comparisons, elsewhere=elsewhere)
    if accuracy.bound <= allowed or least > allowed:
        return None
    return f"the accuracy drop may be as large as {accuracy.bound:.4f}, {allowed:.4f} is allowed"


def _confirm(job: Job, trial: Trial, comparisons: int) -> Accuracy | None:
    if job.gate is None or trial.artifact is None:
        return None
    return job.gate.bound(job.evaluator.host_run(trial.artifact), comparisons)


def _own_accuracy(job: Job, original: Trial) -> Accuracy | None:
    """The original's: the file is the same byte for byte, so nothing is lost, however few the samples. On
    LiteRT it is a conversion of the original, and judged as any other file."""
    if original.candidate.runtime != ONNXRUNTIME:
        return _confirm(job, original, 1)
    return None if job.gate is None else replace(job.gate.original("confirm"), bound=0.0)


def _verify(
    job: Job, winner: Contender, comparisons: int
) -> tuple[Accuracy | None, Literal["board", "host"] | None]:
    """The accuracy of outputs that the board computed: its int8 kernels are its own."""
    if job.gate is None:
        return None, None
    if winner.trial.kind == "baseline" or not _can_verify(job, winner):
        return winner.accuracy, "host"
    gate, artifact = job.gate, winner.artifact
    allowed = job.options.objective.max_drop.allowed(job.confirm_score or 0.0)
    here = job.evaluator.host_run(artifact)

    def on_the_board() -> Accuracy:
        return gate.bound_elsewhere(
            lambda part: _board_run(job, artifact, part), here, comparisons, allowed=allowed
        )

    return patiently(job, on_the_board), "board"


def _can_verify(job: Job, winner: Contender) -> bool:
    """A predicted board computes nothing, and an emulated one computes slowly."""
    if job.board.provenance == "measured":
        return True
    if job.board.provenance == "predicted" or job.inputs.parts is None:
        return False
    samples = len(job.inputs.parts.confirm)
    busy = job.board.facts.cores * (winner.measurement.cpu_utilization or 1.0)
    seconds = samples * winner.measurement.p50_ms / 1e3 * busy * EMULATED_SLOWDOWN
    if seconds > MOST_VERIFYING_S:
        job.observer.announce(
            f"the accuracy is that of this machine's kernels: to emulate the {samples} inferences of the "
            f"confirm part would take about {seconds / 60:.0f} min; edgeopt confirm checks it on hardware"
        )
        return False
    return True


def _board_run(job: Job, artifact: Artifact, part: Part | None) -> Run:
    """Inference on the board; the gate goes through a part in order, so outputs are asked for ahead."""
    parts, batch = job.inputs.parts, job.inputs.batch
    assert parts is not None  # noqa: S101 - there is a gate, so there is data
    part = part or parts.confirm
    if job.options.data.state and part.groups is not None:  # each input depends on the last output
        return batch.run(lambda feeds: next(iter(job.board.infer(artifact, [feeds]))))
    outputs = job.board.infer(artifact, job.inputs.fed(part).samples())
    return lambda _: batch.first(next(outputs))
