"""Never worse: who may replace the original, decided from one interleaved final stage. Pure, no IO."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from edgeopt.core.artifact import Artifact
from edgeopt.core.measurement import Measurement
from edgeopt.core.objective import SLACK, Objective, Regression, worse
from edgeopt.core.trial import Accuracy, Trial
from edgeopt.report.ratio import modelled_ratio, paired_ratio

Verdict = Literal["improved", "reference", "original"]


@dataclass(frozen=True, slots=True)
class Ratio:
    """One contender's objective over another's, with its corrected 95 % interval. Below 1 is better."""

    value: float
    low: float
    high: float

    @property
    def is_better(self) -> bool:
        return self.high < 1.0


@dataclass(frozen=True, slots=True)
class Contender:
    """One participant of the final stage.

    Attributes:
        trial: What the study knew of it.
        measurement: From the final stage only.
        accuracy: On the confirm part; None without data.
        rejected: Why it cannot win, whatever its speed; None if it can.
        worse: What is worse than the original's, in words: shown first.
    """

    trial: Trial
    artifact: Artifact
    measurement: Measurement
    accuracy: Accuracy | None = None
    rejected: str | None = None
    worse: tuple[str, ...] = ()


def ratio(
    a: Contender, b: Contender, objective: Objective, comparisons: int, pairwise_error: float = 0.0
) -> Ratio:
    """The objective of `a` over that of `b`, from processes measured in turns.

    Paired by round: the log-ratio of the two process medians of each round, a t interval over rounds,
    widened by Bonferroni's correction for `comparisons`. A file's size is compared by its value, and so is
    memory that was counted. Times and energies that are not measured are one point with the board's
    `pairwise_error` (relative) on either side: what lies within it is a tie. Of what was measured without
    repetitions nothing is known of the noise: the interval has no end, and nobody is better by it.
    """
    rounds_a, rounds_b = objective.per_process(a.measurement), objective.per_process(b.measurement)
    if paired := paired_ratio(rounds_a, rounds_b, comparisons):
        return Ratio(*paired)
    x, y = objective.value(a.measurement, a.artifact), objective.value(b.measurement, b.artifact)
    if x is None or y is None or y <= 0:
        return Ratio(math.inf, math.inf, math.inf)
    if a.measurement.provenance == "measured" and objective.name != "size":
        return Ratio(x / y, 0.0, math.inf)
    error = pairwise_error if a.measurement.provenance != "measured" and objective.is_modelled else 0.0
    return Ratio(*modelled_ratio(x / y, error))


def regressions(contender: Contender, original: Contender, objective: Objective) -> dict[Regression, str]:
    """What got worse than the original's by more than `SLACK`, besides the objective, and in words how much.

    A figure with one value per process counts only where it is worse beyond its noise.
    """
    a, b = contender.measurement, original.measurement
    figures: dict[Regression, tuple[float | None, float | None, Sequence[float], Sequence[float]]] = {
        "latency": (a.p50_ms, b.p50_ms, a.process_p50_ms, b.process_p50_ms),
        "p95": (a.p95_ms, b.p95_ms, a.process_p95_ms, b.process_p95_ms),
        "memory": (a.peak_rss_bytes, b.peak_rss_bytes, (), ()),
        "size": (contender.artifact.size_bytes, original.artifact.size_bytes, (), ()),
        "cold-start": (
            a.cold_start_ms, b.cold_start_ms, a.process_cold_start_ms, b.process_cold_start_ms,
        ),
    }  # fmt: skip
    found: dict[Regression, str] = {}
    for name, (new, old, new_rounds, old_rounds) in figures.items():
        if name == objective.name or new is None or not old or new / old <= SLACK:
            continue
        paired = paired_ratio(new_rounds, old_rounds)
        if paired is None or paired[1] > 1.0:
            found[name] = worse(name, new / old)
    return found


def decide(
    original: Contender,
    references: Sequence[Contender],
    finalists: Sequence[Contender],
    objective: Objective,
    pairwise_error: float = 0.0,
) -> tuple[Verdict, Contender]:
    """The winner, by the design's definition of never worse.

    The incumbent is the best reference that beats the original, else the original. The best finalist
    replaces the incumbent only if the interval of its ratio, corrected for the finalists tried, lies below
    1. Who is rejected cannot win; an original that breaks a hard limit gives way to anyone who keeps it.
    Of several that win and that `pairwise_error` cannot tell apart, the one that changes least wins.
    """

    def winner(contenders: Sequence[Contender], incumbent: Contender) -> Contender | None:
        allowed = [one for one in contenders if one.rejected is None]
        gains = [(one, ratio(one, incumbent, objective, len(contenders), pairwise_error)) for one in allowed]
        winners = [(one, gain) for one, gain in gains if incumbent.rejected is not None or gain.is_better]
        if not winners:
            return None
        best = min(winners, key=lambda entry: entry[1].value)[0]
        return _simplest_tied(best, [one for one, _ in winners], original, objective, pairwise_error)

    verdict: Verdict = "original"
    incumbent = original
    if reference := winner(references, original):
        verdict, incumbent = "reference", reference
    if finalist := winner(finalists, incumbent):
        return "improved", finalist
    return verdict, incumbent


def _simplest_tied(
    best: Contender,
    rivals: Sequence[Contender],
    original: Contender,
    objective: Objective,
    pairwise_error: float,
) -> Contender:
    """Of those that a model cannot tell from the best: fewest decisions changed, then the earliest.

    Measured figures have no such error: there the best stays the best.
    """
    if best.measurement.provenance == "measured" or not pairwise_error or not objective.is_modelled:
        return best
    tied = [one for one in rivals if ratio(one, best, objective, 1, pairwise_error).low <= 1.0]
    default = original.trial.candidate
    return min(tied, key=lambda one: (len(one.trial.candidate.changes(default)), one.trial.number))
