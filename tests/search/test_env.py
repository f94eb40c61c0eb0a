"""The environment: what it rewards, what it masks, and that the usual tools accept it."""

from __future__ import annotations

import numpy as np
import pytest
from gymnasium.utils.env_checker import check_env
from mixed_truth import INT8, MixedTruth, trial_of

from edgeopt.core.region import Region
from edgeopt.core.space import DecisionPoint, SearchSpace
from edgeopt.search.env import EpisodeEnv, SearchVecEnv
from edgeopt.search.features import observation_size
from edgeopt.search.layout import Layout
from edgeopt.search.surrogate import Surrogate
from edgeopt.search.walk import INFEASIBLE_RETURN, Walk

TRUTH = MixedTruth(blocks=6)


def surrogate_of(drop=lambda candidate: None, more=()):
    rng = np.random.default_rng(0)
    candidates = [
        TRUTH.space.default(), TRUTH.uniform(INT8), *(TRUTH.mix(rng) for _ in range(8)), *more
    ]  # fmt: skip
    history = [trial_of(i, c, TRUTH.latency_ms(c), drop(c)) for i, c in enumerate(candidates)]
    return Surrogate(Layout(TRUTH.space), TRUTH.context(history, original_score=lambda: 0.9))


def play(walk, choose, **reset):
    """Walk to the end; returns of the episodes."""
    walk.reset(**reset)
    returns, done = np.zeros(walk.count), False
    while not done:
        rewards, done = walk.step(choose(walk))
        returns += rewards
    return returns


def at_random(walk):
    return np.array([walk.rng.choice(np.flatnonzero(row)) for row in walk.masks()])


def test_gymnasium_accepts_it():
    check_env(EpisodeEnv(surrogate_of()), skip_render_check=True)


def test_the_return_is_what_the_surrogate_predicts_of_the_whole_candidate():
    surrogate = surrogate_of()
    walk = Walk(surrogate, 16, np.random.default_rng(1))
    returns = play(walk, at_random)
    assert returns == pytest.approx(-surrogate.predict(walk.codes)[0])


def test_the_steps_add_up_to_options_and_boundaries_before_the_last_correction():
    surrogate = surrogate_of()
    walk = Walk(surrogate, 16, np.random.default_rng(1))
    play(walk, at_random)
    graph, chosen = surrogate.objective._columns(walk.codes)
    _, mean = surrogate.objective._linearised(graph, chosen)
    offset = surrogate.objective._offset_deviation * surrogate.objective._runtime_weights[-1]
    assert -walk._earned == pytest.approx(mean - offset)


def test_where_a_candidate_was_measured_the_return_is_the_measurement():
    surrogate = surrogate_of()
    count = len(surrogate.codes)
    walk = Walk(surrogate, count, np.random.default_rng(1))
    returns = play(
        walk,
        lambda walk: surrogate.codes[:, walk.position],
        tied=np.zeros(count, dtype=bool),
        caution=np.zeros(count),
    )
    assert returns == pytest.approx(-surrogate.logs)
    assert not np.allclose(returns, -surrogate.predict(surrogate.codes)[0], atol=1e-6)


def test_a_candidate_measured_as_infeasible_is_worse_than_changing_nothing():
    surrogate = surrogate_of()
    surrogate.feasible[1] = False
    walk = Walk(surrogate, 1, np.random.default_rng(1))
    returns = play(walk, lambda w: surrogate.codes[1:2, w.position], tied=np.array([False]))
    assert returns == pytest.approx(INFEASIBLE_RETURN)


def test_options_that_would_break_the_accuracy_are_masked_while_there_is_another():
    site = f"precision@{TRUTH.space.regions[3].name}"
    surrogate = surrogate_of(lambda c: 0.05 if c.chosen(site) == INT8 else 0.0)
    walk = Walk(surrogate, 32, np.random.default_rng(2))
    play(walk, at_random, caution=np.zeros(32))
    point = [p.site for p in TRUTH.space.points].index(site)
    assert (walk.codes[:, point] == 0).all()
    assert (walk.codes == 1).any()


def test_options_that_a_point_does_not_have_are_masked():
    walk = Walk(surrogate_of(), 4, np.random.default_rng(0))
    assert walk.masks().shape == (4, walk.layout.width)
    assert (walk.masks().sum(axis=1) >= 1).all()


def test_tied_episodes_decide_repeated_blocks_alike():
    walk = Walk(surrogate_of(), 32, np.random.default_rng(0))
    play(walk, at_random, tied=np.ones(32, dtype=bool))
    for group in range(walk.layout.group.max() + 1):
        columns = walk.codes[:, walk.layout.group == group]
        assert (columns == columns[:, :1]).all()


def test_the_same_seed_gives_the_same_episodes():
    runs = []
    for _ in range(2):
        walk = Walk(surrogate_of(), 8, np.random.default_rng(7))
        play(walk, at_random)
        runs.append(walk.codes)
    assert (runs[0] == runs[1]).all()


def test_observations_do_not_grow_with_the_model():
    small = Walk(surrogate_of(), 2, np.random.default_rng(0)).observe()
    truth = MixedTruth(blocks=20)
    surrogate = Surrogate(Layout(truth.space), truth.context([]))
    large = Walk(surrogate, 2, np.random.default_rng(0)).observe()
    assert small.shape == large.shape == (2, observation_size(2))


def test_a_model_without_regions_can_be_walked():
    region = Region("/r", "p", ("/r",), ("Conv",), (), (), (), 0, 0, 0, 0)
    for regions in ((), (region,)):
        space = SearchSpace("0" * 64, (DecisionPoint("runtime:threads", ("1", "2"), "2"),), regions)
        surrogate = Surrogate(Layout(space), MixedTruth(1).context([]).__class__(
            space, TRUTH.context([]).objective, 0, None, list
        ))  # fmt: skip
        walk = Walk(surrogate, 3, np.random.default_rng(0))
        assert np.isfinite(play(walk, at_random)).all()


def test_stable_baselines_drives_it():
    env = SearchVecEnv(Walk(surrogate_of(), 5, np.random.default_rng(0)))
    seen = env.reset()
    assert seen.shape == (5, *env.observation_space.shape)
    for _ in range(env.walk.layout.count):
        masks = np.stack(env.env_method("action_masks"))
        seen, rewards, dones, infos = env.step(masks.argmax(axis=1))
    assert dones.all()
    assert len(infos) == 5
    assert rewards.dtype == np.float32
    assert env.observation_space.contains(seen[0])
    assert env.walk.position == 0
