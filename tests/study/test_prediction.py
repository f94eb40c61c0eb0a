"""How wrong the predictions of a search were, from what it wrote down before it measured."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from study_fixtures import SPACE, cost_ms, open_store, result

from edgeopt.core.quantity import Quantity
from edgeopt.search.context import SearchContext
from edgeopt.search.samplers import ppo
from edgeopt.study.prediction import errors
from edgeopt.study.read import read, rows


def predicted(value: float, half: float) -> dict[str, Quantity]:
    return {"latency": Quantity(value, "ms", value / half, value * half, "predicted", "surrogate")}


def trials(factors, half=1.2):
    rng = np.random.default_rng(0)
    found = []
    for number, factor in enumerate(factors):
        candidate = SPACE.candidate({p.site: str(rng.choice(p.options)) for p in SPACE.points})
        expected = predicted(cost_ms(candidate) * factor, half)
        found.append(result(number, candidate, predicted=expected))
    return found


def test_the_error_is_that_of_the_prediction_against_the_measurement():
    (error,) = errors(trials([1.1, 0.9, 0.9, 0.9]))
    assert (error.figure, error.n) == ("latency", 4)
    assert error.median_error == pytest.approx(0.1)
    assert error.bias == pytest.approx(-0.1)
    assert error.covered == 1.0
    assert error.spearman is not None


def test_coverage_counts_what_lies_inside_the_90_percent_interval():
    # ±20 % at 95 % is ±16.5 % at 90 %.
    (error,) = errors(trials([1.17, 1.15, 1.0, 0.8]))
    assert error.covered == 0.5


def test_what_was_not_predicted_or_not_measured_does_not_count():
    one, two, three = trials([1.0, 1.0, 1.0])
    unmeasured = result(3, one.candidate, predicted=one.predicted, measurement=None, state="INFEASIBLE")
    unpredicted = result(4, two.candidate)
    replayed = result(5, three.candidate, predicted=three.predicted, replay_of=2)
    (error,) = errors([one, unmeasured, unpredicted, replayed])
    assert error.n == 1
    assert error.spearman is None
    assert errors([unpredicted]) == []


def test_the_default_sampler_says_what_it_expects_and_the_study_keeps_it(tmp_path: Path):
    def sampler(history):
        from edgeopt.core.objective import Objective

        return ppo.create(SearchContext(SPACE, Objective(), 0, None, history))

    with open_store(tmp_path, make_sampler=sampler) as store:
        store.tell(result(store.ask_candidate(SPACE.default(), "baseline", "original"), SPACE.default()))
        number, candidate = store.ask()
        store.tell(result(number, candidate))
        expected = store.get(number).predicted["latency"]
        assert expected.low < expected.value < expected.high
        assert expected.provenance == "predicted"
        assert store.get(0).predicted == {}
    kept = read(tmp_path)
    assert kept.trials[number].predicted["latency"] == expected
    assert errors(kept.trials)[0].n == 1
    assert rows(kept)[number]["predicted"] == expected.value
    assert rows(kept)[0]["predicted"] is None
