from __future__ import annotations

import numpy as np
import pytest

from edgeopt.bench.answers import Fitted, Pool, Recorded
from tests.bench import made_up


@pytest.fixture(scope="module")
def recorded() -> Recorded:
    return Recorded(made_up.oracle(120))


def test_the_pool_gives_the_nearest_each_once(recorded: Recorded) -> None:
    oracle = recorded.oracle
    pool = Pool(recorded, [t.candidate for t in oracle.given])
    wanted = oracle.trials[5].candidate
    assert pool.instead(wanted) == wanted
    second = pool.instead(wanted)
    assert second != wanted
    nearest = np.sort(recorded.distances(wanted)[2:])[1]
    assert recorded.distances(wanted)[[t.candidate for t in oracle.trials].index(second)] == nearest
    assert pool.changed[0] == 0 < pool.changed[1]
    left = {pool.instead(wanted) for _ in range(118)}
    assert pool.is_empty
    assert not left & {wanted, second, *(t.candidate for t in oracle.given)}


def test_what_was_recorded_is_answered_as_recorded(recorded: Recorded) -> None:
    answers = Fitted(recorded)
    for trial in recorded.oracle.trials[2:8]:
        told = answers.trial(50, trial.candidate)
        assert (told.state, told.measurement, told.accuracy) == (
            trial.state,
            trial.measurement,
            trial.accuracy,
        )


def test_what_was_not_recorded_is_predicted_and_says_so(recorded: Recorded) -> None:
    from edgeopt.bench.coverage import mix

    rng, answers = np.random.default_rng(99), Fitted(recorded)
    for _ in range(20):
        candidate = recorded.layout.decode(mix(recorded.layout, rng))
        if candidate in recorded.by_candidate:
            continue
        told = answers.trial(50, candidate)
        assert told.accuracy is not None
        if told.state == "COMPLETE":
            assert told.measurement is not None
            assert told.measurement.latency.source == "regression on the record"
        else:
            assert told.measurement is None
            assert told.reason is not None


def test_the_regression_ranks_what_it_was_not_shown(recorded: Recorded) -> None:
    held = recorded.log_figure.held_out
    assert held.spearman is not None
    assert held.spearman > 0.8
    assert held.median_error < 0.1
    assert recorded.drop is not None
    assert (recorded.drop.held_out.spearman or 0.0) > 0.8
