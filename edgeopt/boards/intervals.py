"""95 % intervals of a median latency, and of the ratio of two artifacts measured in turns.

Fresh processes differ (memory layout, placement); within one, samples that follow each other are alike.
So whole processes are drawn again, and of each the blocks or turns that it consists of: a hierarchical
bootstrap, of logarithms, since a time is never negative and its spread is a share of it. There are few
processes, and percentiles of what was drawn would be too narrow, so its standard error is taken with
Student's t. The lower level is thereby counted twice: 95 to 99 % of intervals hold the truth in simulations.

Source: Kalibera & Jones, "Rigorous benchmarking in reasonable time", ISMM 2013 (levels of repetition);
Hesterberg, "What teachers should know about the bootstrap", The American Statistician 69 (2015): for small n
the bootstrap's standard error is too small by sqrt((n - 1) / n), and its percentiles are too narrow.
"""

from __future__ import annotations

import math
import statistics
from collections.abc import Sequence
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

BETWEEN_PROCESSES_CV = 0.02
"""How much the median moves from one fresh process to the next (memory layout, placement) at most, by
the measuring protocol; what a single process shows says nothing about it."""

DRAWS, SEED = 1000, 0
BLOCKS = 8
"""Into so many a process's samples are cut: samples of different blocks are hardly related."""

_Z = statistics.NormalDist().inv_cdf(0.975)


def median_interval(processes: Sequence[Sequence[float]], looks: int = 1) -> tuple[float, float, float]:
    """The median of all latencies with its 95 % interval.

    With three or more fresh processes, both levels are drawn again. With fewer, only the blocks are, and the
    spread that is usual between processes is added to it.

    Args:
        processes: Latencies of each process, none empty.
        looks: After how many processes it might have been decided that these are enough: the interval is
            widened by Bonferroni's correction, so that it holds whenever that was.

    Returns:
        Median, lower end, upper end.
    """
    medians = [statistics.median(latencies) for latencies in processes]
    blocks = [_log_medians(_blocks(latencies)) for latencies in processes]
    n = len(processes)
    if n >= 3:
        median, middle = statistics.median(medians), statistics.fmean(math.log(value) for value in medians)
        half = t_quantile(n - 1, looks) * math.sqrt(n / (n - 1)) * bootstrap_error(blocks)
        return median, min(median, math.exp(middle - half)), max(median, math.exp(middle + half))
    median = statistics.median(latency for latencies in processes for latency in latencies)
    between = BETWEEN_PROCESSES_CV / math.sqrt(n)
    half = _Z * math.hypot(between, _within_error(blocks))
    return median, median * math.exp(-half), median * math.exp(half)


def paired_ratio(candidate: Sequence[Sequence[float]], control: Sequence[Sequence[float]]) -> float | None:
    """Median over slices of the candidate's median / the control's in the same turn; None without any."""
    ratios = [
        statistics.median(slice_) / statistics.median(other)
        for slice_, other in zip(candidate, control, strict=False)
        if slice_ and other
    ]
    return statistics.median(ratios) if ratios else None


def turned_ratio(
    a: Sequence[Sequence[float]], b: Sequence[Sequence[float]], comparisons: int = 1
) -> tuple[float, float, float] | None:
    """a / b with its 95 % interval, paired by turn; None with fewer than two rounds of processes.

    What slows down a turn hits both alike, and cancels.

    Args:
        a: Of each round the medians of its turns, above 0.
        b: The other's, of the same rounds; turns beyond the shorter of the two are left out.
        comparisons: How many are made at once; the interval is widened by Bonferroni's correction.
    """
    rounds = [
        np.array([math.log(x / y) for x, y in zip(one, other, strict=False)])
        for one, other in zip(a, b, strict=False)
        if one and other
    ]
    n = len(rounds)
    if n < 2:
        return None
    centre = float(np.mean([np.mean(turns) for turns in rounds]))
    reach = t_quantile(n - 1, comparisons) * math.sqrt(n / (n - 1)) * bootstrap_error(rounds)
    return math.exp(centre), math.exp(centre - reach), math.exp(centre + reach)


def bootstrap_error(groups: Sequence[NDArray[np.float64]]) -> float:
    """Standard error of the mean of the groups' means: groups are drawn again, and the values in each."""
    rng = np.random.default_rng(SEED)
    drawn = np.stack([_means(group, rng, len(groups)) for group in groups])  # (groups, DRAWS, groups)
    picks = rng.integers(len(groups), size=(DRAWS, len(groups)))
    places = np.arange(len(groups))[None, :]
    return float(np.std(np.mean(drawn[picks, np.arange(DRAWS)[:, None], places], axis=1)))


def t_quantile(degrees: int, comparisons: int = 1) -> float:
    """The two-sided 95 % quantile of Student's t, Bonferroni-corrected for `comparisons`."""
    from scipy.special import stdtrit  # scipy.stats would take most of a second to import

    return float(stdtrit(degrees, 1 - 0.025 / max(1, comparisons)))


def _means(values: NDArray[np.float64], rng: np.random.Generator, count: int) -> NDArray[np.float64]:
    """Means of `values` drawn again, (DRAWS, count)."""
    picks = rng.integers(len(values), size=(DRAWS, count, len(values)))
    return np.asarray(values[picks].mean(axis=2))


def _within_error(groups: Sequence[NDArray[np.float64]]) -> float:
    """Standard error of the mean of the groups' means where only their values are drawn again."""
    rng = np.random.default_rng(SEED)
    return float(np.std(np.mean([_means(group, rng, 1)[:, 0] for group in groups], axis=0)))


def _blocks(latencies: Sequence[float]) -> list[Sequence[float]]:
    """The samples of a process in order, in as many blocks of about the same size."""
    count = min(BLOCKS, len(latencies))
    edges = [len(latencies) * at // count for at in range(count + 1)]
    return [latencies[start:end] for start, end in pairwise(edges)]


def _log_medians(blocks: Sequence[Sequence[float]]) -> NDArray[np.float64]:
    return np.log([statistics.median(block) for block in blocks])
