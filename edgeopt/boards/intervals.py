"""95 % intervals of a median latency, and of a ratio to the control."""

from __future__ import annotations

import math
import statistics
from collections.abc import Sequence

BETWEEN_PROCESSES_CV = 0.02
"""How much the median moves from one fresh process to the next (memory layout, placement) at most, by
the measuring protocol; what a single process shows says nothing about it."""

_Z = statistics.NormalDist().inv_cdf(0.975)
_T = {1: 12.706, 2: 4.303, 3: 3.182, 4: 2.776, 5: 2.571, 6: 2.447, 7: 2.365, 8: 2.306, 9: 2.262}


def t_quantile(degrees: int) -> float:
    """The 97.5 % quantile of Student's t.

    Source: tabulated below 10 degrees of freedom; above, the Cornish-Fisher expansion around the normal
    quantile (Abramowitz and Stegun, 26.7.5), good to 0.003.
    """
    if degrees in _T:
        return _T[degrees]
    first = (_Z**3 + _Z) / (4 * degrees)
    second = (5 * _Z**5 + 16 * _Z**3 + 3 * _Z) / (96 * degrees**2)
    return _Z + first + second


def median_interval(processes: Sequence[Sequence[float]]) -> tuple[float, float, float]:
    """The median of all latencies with its 95 % interval.

    With three or more fresh processes, the spread of their medians gives the interval (Student's t of their
    logarithms). With fewer, the order statistics of the samples bound the median within a process
    (binomial), and the spread that is usual between processes is added to it.

    Args:
        processes: Latencies of each process, none empty.

    Returns:
        Median, lower end, upper end.
    """
    medians = [statistics.median(latencies) for latencies in processes]
    if len(processes) >= 3:
        # Of logarithms: a time is never negative, and its spread is a share of it.
        logs = [math.log(value) for value in medians]
        middle = statistics.mean(logs)
        half = t_quantile(len(logs) - 1) * statistics.stdev(logs) / math.sqrt(len(logs))
        median = statistics.median(medians)
        return median, min(median, math.exp(middle - half)), max(median, math.exp(middle + half))
    ordered = sorted(latency for latencies in processes for latency in latencies)
    median = statistics.median(ordered)
    low, high = _order_statistics(len(ordered))
    between = _Z * BETWEEN_PROCESSES_CV * median / math.sqrt(len(processes))
    return (
        median,
        median - math.hypot(median - ordered[low], between),
        median + math.hypot(ordered[high] - median, between),
    )


def paired_ratio(candidate: Sequence[Sequence[float]], control: Sequence[Sequence[float]]) -> float | None:
    """Median over slices of the candidate's median / the control's in the same turn; None without any."""
    ratios = [
        statistics.median(slice_) / statistics.median(other)
        for slice_, other in zip(candidate, control, strict=False)
        if slice_ and other
    ]
    return statistics.median(ratios) if ratios else None


def _order_statistics(n: int) -> tuple[int, int]:
    """Indices whose sorted values enclose the median of n samples with 95 % (normal approximation)."""
    half = _Z * math.sqrt(n) / 2
    return max(0, math.floor((n - 1) / 2 - half)), min(n - 1, math.ceil((n - 1) / 2 + half))
