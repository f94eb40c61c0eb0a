"""The fastest finalists may all fail the accuracy bound, so one that is likely to hold goes along.

The search keeps what passes on its own samples, and the fastest of many that pass are mostly the luckiest:
on fresh samples they lose more. What the surrogate believes of a candidate, its own score included, does not
depend on luck as much.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

from edgeopt.core.trial import Trial
from edgeopt.optimize.job import Job


def with_a_likely_one(
    job: Job, finalists: Sequence[Trial], others: Sequence[Trial], figures: Mapping[int, float], bar: float
) -> list[Trial]:
    """The finalists; the last makes way for the one of `others` with which more gain is to be expected.

    Args:
        finalists: As many as may take part, best first.
        others: Feasible trials that do not.
        figures: The objective's, by the trials' numbers; smaller is better.
        bar: The figure of the best that stands already: a result that is not better gains nothing.
    """
    if job.gate is None or len(finalists) < 2 or not others or not math.isfinite(bar):
        return list(finalists)
    all_of_them = [*finalists, *others]
    numbers = [trial.number for trial in all_of_them]
    chance = dict(zip(numbers, chances(job, all_of_them), strict=True))

    def expected(trials: Sequence[Trial]) -> float:
        """Log gain of the best that holds, each holding for itself."""
        total, open_ = 0.0, 1.0
        for number in sorted((trial.number for trial in trials), key=figures.__getitem__):
            total += open_ * chance[number] * max(0.0, math.log(bar / figures[number]))
            open_ *= 1 - chance[number]
        return total

    kept = list(finalists[:-1])
    best = max(others, key=lambda trial: expected([*kept, trial]))
    return [*kept, best] if expected([*kept, best]) > expected(finalists) else list(finalists)


def chances(job: Job, trials: Sequence[Trial]) -> list[float]:
    """Of each trial, the probability that it keeps the accuracy and every limit."""
    from edgeopt.search.layout import Layout
    from edgeopt.search.surrogate import Surrogate

    layout = Layout(job.space)
    codes = layout.encode([trial.candidate for trial in trials])
    return [float(chance) for chance in Surrogate(layout, job.context).feasibility(codes)]
