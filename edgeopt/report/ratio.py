"""The ratio of two artifacts with its interval: measured in turns, or said by a model."""

from __future__ import annotations

import math
import statistics
from collections.abc import Sequence

from edgeopt.boards.intervals import t_quantile


def paired_ratio(
    a: Sequence[float], b: Sequence[float], comparisons: int = 1
) -> tuple[float, float, float] | None:
    """a / b with its 95 % interval, from values of the same rounds; None with fewer than two rounds.

    A t interval over the logarithms of each round's ratio: what slows a whole round down cancels out.

    Args:
        a: One value per round, above 0.
        b: The other's, of the same rounds.
        comparisons: How many are made at once; the interval is widened by Bonferroni's correction.

    Source: Kalibera & Jones, "Rigorous benchmarking in reasonable time", ISMM 2013, section 7.
    """
    if len(a) != len(b) or len(a) < 2:
        return None
    logs = [math.log(x / y) for x, y in zip(a, b, strict=True)]
    centre = statistics.fmean(logs)
    error = statistics.stdev(logs) / math.sqrt(len(logs))
    reach = t_quantile(len(logs) - 1, comparisons) * error
    return math.exp(centre), math.exp(centre - reach), math.exp(centre + reach)


Z_95 = 1.96


def modelled_ratio(value: float, pairwise_error: float, z: float = 1.0) -> tuple[float, float, float]:
    """A ratio that a model said, with the interval of the model's error.

    Args:
        pairwise_error: How far the ratio of two variants of one model is off, relative, as one standard
            deviation: two that are closer are a tie. The interval is the same whichever of the two is divided
            by the other: if a is better than b, b is worse than a.
        z: Standard deviations on either side: 1 tells ties, `Z_95` gives the 95 % interval.
    """
    reach = (1 + pairwise_error) ** z
    return value, value / reach, value * reach
