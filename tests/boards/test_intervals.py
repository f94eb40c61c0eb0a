"""Intervals hold what they promise, on samples whose truth is known."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from edgeopt.boards.intervals import median_interval, paired_ratio, t_quantile

LATENCIES = st.lists(st.floats(0.001, 1e4), min_size=1, max_size=200)


@pytest.mark.parametrize("degrees", [*range(1, 30), 60, 200])
def test_t_quantile_is_students(degrees: int) -> None:
    assert t_quantile(degrees) == pytest.approx(stats.t.ppf(0.975, degrees), abs=3e-3)


@given(st.lists(LATENCIES, min_size=1, max_size=7))
def test_the_interval_holds_the_median(processes: list[list[float]]) -> None:
    median, low, high = median_interval(processes)
    assert low <= median <= high


@pytest.mark.parametrize("processes", [1, 2, 3, 5])
def test_intervals_cover_the_truth_when_processes_differ(processes: int) -> None:
    rng = np.random.default_rng(0)
    covered = 0
    for _ in range(400):
        levels = 10 * np.exp(rng.normal(0, 0.02, processes))
        samples = [list(level * np.exp(rng.normal(0, 0.05, 64))) for level in levels]
        _, low, high = median_interval(samples)
        covered += low <= 10 <= high
    assert covered >= 0.92 * 400


def test_one_process_never_claims_to_be_exact() -> None:
    median, low, high = median_interval([[10.0] * 1000])
    assert median == 10.0
    assert high - low > 0.5


def test_the_paired_ratio_does_not_see_a_drift_that_hits_both() -> None:
    drift = [1.0, 1.5, 2.0, 3.0]
    control = [[level, level * 1.01] for level in drift]
    candidate = [[level * 0.8, level * 0.8 * 1.01] for level in drift]
    assert paired_ratio(candidate, control) == pytest.approx(0.8)
    assert paired_ratio([], control) is None
