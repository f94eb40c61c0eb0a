"""Never worse: who may replace the original, decided from one interleaved final stage. Pure, no IO."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from edgeopt.core.artifact import Artifact
from edgeopt.core.measurement import Measurement
from edgeopt.core.objective import Objective
from edgeopt.core.trial import Accuracy, Trial
from edgeopt.report.ratio import paired_ratio

Verdict = Literal["improved", "reference", "original"]

SLACK = 1.05
"""What the objective does not ask for may be this much worse than the original's."""


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
    a: Contender, b: Contender, objective: Objective, comparisons: int, predicted_error: float = 0.0
) -> Ratio:
    """The objective of `a` over that of `b`, from processes measured in turns.

    Paired by round: the log-ratio of the two process medians of each round, a t interval over rounds,
    widened by Bonferroni's correction for `comparisons`. An objective without per-process values (size,
    memory) is compared by its value. Figures that are not measured are one point with
    `predicted_error` (relative) on either side.
    """
    rounds_a, rounds_b = objective.per_process(a.measurement), objective.per_process(b.measurement)
    if paired := paired_ratio(rounds_a, rounds_b, comparisons):
        return Ratio(*paired)
    x, y = objective.value(a.measurement, a.artifact), objective.value(b.measurement, b.artifact)
    if x is None or y is None or y <= 0:
        return Ratio(math.inf, math.inf, math.inf)
    error = 0.0 if a.measurement.provenance == "measured" else predicted_error
    return Ratio(x / y, x / y * (1 - error), x / y * (1 + error))


def regressions(contender: Contender, original: Contender, objective: Objective) -> tuple[str, ...]:
    """What got worse than the original's by more than `SLACK`, besides the objective, in words."""
    figures = {
        "p95": (contender.measurement.p95_ms, original.measurement.p95_ms),
        "memory": (contender.measurement.peak_rss_bytes, original.measurement.peak_rss_bytes),
        "size": (contender.artifact.size_bytes, original.artifact.size_bytes),
        "cold-start": (contender.measurement.cold_start_ms, original.measurement.cold_start_ms),
    }
    return tuple(
        f"{name} is {new / old - 1:.0%} worse than the original's"
        for name, (new, old) in figures.items()
        if name != objective.name and new is not None and old and new / old > SLACK
    )


def decide(
    original: Contender,
    reference: Contender | None,
    finalists: Sequence[Contender],
    objective: Objective,
    predicted_error: float = 0.0,
) -> tuple[Verdict, Contender]:
    """The winner, by the design's definition of never worse.

    The incumbent is the reference where it beats the original, else the original. The best finalist that
    is not rejected replaces the incumbent only if the corrected interval of its ratio lies below 1.
    """
    verdict: Verdict = "original"
    incumbent = original
    rivals = len(finalists) + (reference is not None)
    if reference is not None and reference.rejected is None:
        gain = ratio(reference, original, objective, rivals, predicted_error)
        if original.rejected is not None or gain.is_better:
            verdict, incumbent = "reference", reference
    allowed = [f for f in finalists if f.rejected is None]
    better = [f for f in allowed if ratio(f, incumbent, objective, rivals, predicted_error).is_better]
    if incumbent.rejected is not None and not better:
        better = allowed
    if better:
        best = min(better, key=lambda f: ratio(f, incumbent, objective, 1, predicted_error).value)
        return ("reference" if best.trial.kind == "reference" else "improved"), best
    return verdict, incumbent
