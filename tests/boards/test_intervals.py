"""Intervals hold what they promise, on samples whose truth is known."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from edgeopt.boards.intervals import bootstrap_error, median_interval, paired_ratio, t_quantile, turned_ratio

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


def test_the_bootstrap_of_groups_without_spread_is_the_standard_error_of_their_means() -> None:
    values = np.array([1.0, 2.0, 4.0, 5.0])
    groups = [np.full(6, value) for value in values]
    assert bootstrap_error(groups) == pytest.approx(np.std(values) / 2, rel=0.05)
    assert bootstrap_error(groups) == bootstrap_error(groups)


@pytest.mark.parametrize("rounds", [2, 5, 8])
def test_ratios_paired_by_turn_cover_the_truth_on_a_board_whose_speed_jumps(rounds: int) -> None:
    rng, covered, widths = np.random.default_rng(1), 0, []
    for _ in range(200):
        level, speed = np.exp(rng.normal(0, 0.02, (rounds, 1))), np.exp(rng.normal(0, 0.3, (rounds, 6)))
        a, b = (x * speed * np.exp(rng.normal(0, 0.02, (rounds, 6))) for x in (0.9 * level, 1.0))
        found = turned_ratio(a.tolist(), b.tolist())
        assert found
        covered += found[1] <= 0.9 <= found[2]
        widths.append(found[2] / found[1] - 1)
    assert covered >= 0.93 * 200
    if rounds == 8:
        assert np.median(widths) < 0.06  # the speed itself moves by 30 %


def test_more_comparisons_widen_a_ratio_and_one_round_has_no_interval() -> None:
    a, b = [[1.0, 1.1], [1.2, 1.0], [1.1, 1.3]], [[1.0, 1.0]] * 3
    once, thrice = turned_ratio(a, b), turned_ratio(a, b, comparisons=3)
    assert once
    assert thrice
    assert thrice[1] < once[1] < once[0] < once[2] < thrice[2]
    assert turned_ratio(a[:1], b[:1]) is None
    assert turned_ratio([], []) is None


def test_stopping_at_a_narrow_interval_does_not_cost_coverage() -> None:
    rng, covered, stopped = np.random.default_rng(5), 0, 0
    for _ in range(300):
        levels = 10 * np.exp(rng.normal(0, 0.02, 8))
        samples = [list(level * np.exp(rng.normal(0, 0.01, 32))) for level in levels]
        for n in range(3, 9):
            _, low, high = median_interval(samples[:n])
            if high / low - 1 < 0.03:
                break
        stopped += n < 8
        _, low, high = median_interval(samples[:n], looks=6)
        covered += low <= 10 <= high
    assert stopped >= 100
    assert covered >= 0.95 * 300
