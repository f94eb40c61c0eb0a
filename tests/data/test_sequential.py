"""Accuracy on a slow board: few samples where few are enough, and never more error than was asked for."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from edgeopt.data.bounds import tango_upper
from edgeopt.data.sequential import EARLY_SHARE, error_rates, looks
from edgeopt.data.split import Part, Parts
from tests.data.made import identity, labelled, opened, wrong_where
from tests.data.test_accuracy import gate

ALLOWED = 0.01


def parts_of(dataset: Any) -> Parts:
    """Everything confirms; the first samples do the rest."""
    few = Part(dataset, np.arange(4))
    return Parts(few, few, Part(dataset, np.arange(len(dataset))))


def run_of(run: Callable[[Mapping[str, Any]], list[Any]], seen: list[int]) -> Callable[[Part | None], Any]:
    """A board that notes how many samples it was given."""

    def runs(part: Part | None) -> Any:
        def one(feeds: Mapping[str, Any]) -> list[Any]:
            seen.append(1)
            return run(feeds)

        return one

    return runs


@pytest.mark.parametrize(
    ("n", "sizes"), [(100, [100]), (511, [511]), (512, [256, 256]), (1100, [256, 256, 588])]
)
def test_each_sample_is_looked_at_once_and_the_last_look_is_not_the_smallest(
    n: int, sizes: list[int]
) -> None:
    drawn = looks(n, seed=3)
    assert [len(rows) for rows in drawn] == sizes
    assert sorted(np.concatenate(drawn).tolist()) == list(range(n))
    assert all((np.diff(rows) > 0).all() for rows in drawn)
    rates = error_rates(len(drawn), 0.05)
    assert sum(rates) == pytest.approx(0.05)
    assert rates[-1] >= 0.05 * (1 - EARLY_SHARE)


def test_a_candidate_that_loses_nothing_is_established_early(tmp_path: Path) -> None:
    dataset = labelled(tmp_path, 6000)
    seen: list[int] = []
    accuracy = gate(dataset, parts=parts_of(dataset)).bound_elsewhere(
        run_of(identity, seen), identity, 1, allowed=ALLOWED
    )
    assert accuracy.n == len(seen) == 1024
    assert accuracy.bound is not None
    assert accuracy.bound <= ALLOWED
    assert accuracy.disagreement == 0.0


def test_a_candidate_that_is_surely_worse_is_given_up_early(tmp_path: Path) -> None:
    dataset = labelled(tmp_path, 6000)
    often_wrong = wrong_where(lambda x: float(x[0, 0]) % 0.01 < 0.003)
    seen: list[int] = []
    accuracy = gate(dataset, parts=parts_of(dataset)).bound_elsewhere(
        run_of(often_wrong, seen), often_wrong, 1, allowed=ALLOWED
    )
    assert accuracy.n == len(seen) == 256
    assert accuracy.drop is not None
    assert accuracy.drop > ALLOWED


def test_sorted_data_are_not_judged_by_their_first_class(tmp_path: Path) -> None:
    labels = np.repeat(np.arange(4), 1500)
    x = np.eye(4, dtype=np.float32)[labels]
    dataset = opened(tmp_path, x=x, labels=labels)
    last_class_wrong = wrong_where(lambda x: bool(x[0, 3] > 0))
    accuracy = gate(dataset, parts=parts_of(dataset)).bound_elsewhere(
        run_of(last_class_wrong, []), identity, 1, allowed=ALLOWED
    )
    assert accuracy.drop == pytest.approx(0.25, abs=0.1)
    assert accuracy.disagreement == accuracy.drop


def test_few_samples_are_judged_as_they_always_were(tmp_path: Path) -> None:
    dataset = labelled(tmp_path, 300)
    checked = gate(dataset, parts=parts_of(dataset))
    accuracy = checked.bound_elsewhere(run_of(identity, []), identity, 3, allowed=ALLOWED)
    assert accuracy.bound == pytest.approx(tango_upper(0, 0, 300, 0.05 / 3))
    assert accuracy.bound == checked.bound(identity, 3).bound


def test_groups_take_every_sample(tmp_path: Path) -> None:
    dataset = labelled(tmp_path, 1200, groups=np.repeat(np.arange(120), 10))
    seen: list[int] = []
    accuracy = gate(dataset, parts=parts_of(dataset)).bound_elsewhere(
        run_of(identity, seen), identity, 1, allowed=1.0
    )
    assert accuracy.n == len(seen) == 1200


@pytest.mark.parametrize("true_drop", [0.011, 0.013])
def test_what_loses_too_much_is_rarely_established(true_drop: float) -> None:
    """2,000 candidates whose true drop is beyond what is allowed: at most 5 % (and noise) get through."""
    rng, through, n = np.random.default_rng(1), 0, 8192
    ends = np.cumsum([len(rows) for rows in looks(n, 0)])
    rates = error_rates(len(ends), 0.05)
    for _ in range(2000):
        lost = np.cumsum(rng.random(n) < true_drop)[ends - 1]
        bounds = (
            tango_upper(int(k), 0, int(end), rate) for k, end, rate in zip(lost, ends, rates, strict=True)
        )
        through += any(bound <= ALLOWED for bound in bounds)
    assert through / 2000 <= 0.06
