"""The agent learns from measurements, and can be repeated."""

from __future__ import annotations

import random
import tempfile

import numpy as np
import pytest
import torch
from mixed_truth import INT8, MixedTruth, trial_of

from edgeopt.core.errors import EdgeoptError
from edgeopt.search.checkpoint import Checkpoints
from edgeopt.search.context import exhausted, size
from edgeopt.search.samplers import ppo
from edgeopt.search.samplers._examples import SMALL


def search(truth, trials, seed=0, propose=None, start=None):
    """Measure references, then proposals; returns the history."""
    history = []
    context = truth.context(history, seed=seed)
    propose = propose or ppo.Ppo(context).propose
    for candidate in start or [truth.space.default(), truth.uniform(INT8)]:
        history.append(trial_of(len(history), candidate, truth.latency_ms(candidate)))
    for number in range(len(history), len(history) + trials):
        candidate = truth.space.candidate(propose(number, []))
        history.append(trial_of(number, candidate, truth.latency_ms(candidate)))
    return history


def best_ms(history):
    return min(t.measurement.p50_ms for t in history)


def test_a_toy_with_a_known_optimum_is_solved_where_random_is_not():
    # Float in the first half, int8 in the second: one boundary, invisible from either pure model.
    truth = MixedTruth(blocks=4, seed=1)
    names = [r.name for r in truth.regions]
    for i, name in enumerate(names):
        truth.option_ms[INT8][name] = truth.float_ms[name] * (1.6 if i < len(names) // 2 else 0.3)
    optimum = truth.latency_ms(
        truth.space.candidate({f"precision@{n}": INT8 for n in names[len(names) // 2 :]})
    )
    found = best_ms(search(truth, 10))
    rng = random.Random(0)

    def at_random(number, running):
        return {p.site: rng.choice(p.options) for p in truth.space.points}

    assert found <= 1.05 * optimum
    assert best_ms(search(truth, 28, propose=at_random)) > 1.2 * optimum


def test_the_reward_is_the_measurement():
    # The prior expects int8b to be as good as int8; this board says otherwise, and the agent moves away.
    options = ("float32", INT8, "int8b")
    truth = MixedTruth(blocks=4, options=options)
    truth.penalty["int8b"] = 6.0
    start = [truth.space.default(), *(truth.uniform(o) for o in options[1:])]
    proposals = [t.candidate for t in search(truth, 4, start=start)[3:]]
    disliked = [list(c.of_family("precision").values()).count("int8b") for c in proposals]
    liked = [list(c.of_family("precision").values()).count(INT8) for c in proposals]
    assert sum(disliked) < 0.2 * sum(liked)
    truth.penalty = {INT8: 6.0}  # the board changes its mind: so does the agent
    proposals = [t.candidate for t in search(truth, 4, start=start)[3:]]
    disliked = [list(c.of_family("precision").values()).count(INT8) for c in proposals]
    liked = [list(c.of_family("precision").values()).count("int8b") for c in proposals]
    assert sum(disliked) < 0.2 * sum(liked)


def test_the_policy_itself_learns():
    from edgeopt.search.agent import Agent, isolated
    from edgeopt.search.layout import Layout
    from edgeopt.search.surrogate import Surrogate

    truth, rng = MixedTruth(blocks=6), np.random.default_rng(0)
    candidates = [truth.space.default(), *(truth.mix(rng) for _ in range(8))]
    history = [trial_of(i, c, truth.latency_ms(c)) for i, c in enumerate(candidates)]
    surrogate = Surrogate(Layout(truth.space), truth.context(history))
    with isolated(0):
        agent = Agent(surrogate, 0, None)
        with torch.no_grad():
            agent.model.policy.mlp_extractor.rule.zero_()  # without the rule that it starts from
        before = surrogate.predict(agent.sample(64))[0].mean()
        agent.train()
        after = surrogate.predict(agent.sample(64))[0].mean()
    assert after < before - 0.1


def test_nothing_is_proposed_twice_and_the_end_of_the_space_is_noticed():
    history = []
    context = MixedTruth(1).context(history).__class__(
        SMALL, MixedTruth(1).context([]).objective, 0, None, lambda: history
    )  # fmt: skip
    codes = ppo.everything(ppo.Layout(SMALL))
    assert len(codes) == size(SMALL) == 64
    layout = ppo.Layout(SMALL)
    for row in codes[:-2]:
        history.append(trial_of(len(history), layout.decode(row), 5.0))
    sampler = ppo.Ppo(context)
    for _ in range(2):
        assert not exhausted(SMALL, history)
        candidate = SMALL.candidate(sampler.propose(len(history), []))
        assert candidate not in [t.candidate for t in history]
        history.append(trial_of(len(history), candidate, 4.0))
    assert exhausted(SMALL, history)
    assert SMALL.candidate(sampler.propose(len(history), []))


def test_what_is_running_is_not_proposed_again():
    truth = MixedTruth(blocks=2)
    history = [trial_of(0, truth.space.default(), 8.0)]
    first = ppo.Ppo(truth.context(history)).propose(1, [])
    assert ppo.Ppo(truth.context(history)).propose(1, []) == first
    assert ppo.Ppo(truth.context(history)).propose(1, [first]) != first


def test_global_random_states_and_threads_are_left_alone():
    truth = MixedTruth(blocks=2)
    history = [trial_of(0, truth.space.default(), 8.0)]
    torch.manual_seed(5)
    before = (
        torch.get_rng_state(),
        random.getstate(),
        np.random.get_state()[1].copy(),
        torch.get_num_threads(),
    )
    ppo.Ppo(truth.context(history)).propose(1, [])
    assert torch.equal(before[0], torch.get_rng_state())
    assert before[1] == random.getstate()
    assert (before[2] == np.random.get_state()[1]).all()
    assert before[3] == torch.get_num_threads()


def test_checkpoints_belong_to_one_history(tmp_path):
    truth = MixedTruth(blocks=2)
    history = [trial_of(0, truth.space.default(), 8.0)]
    context = truth.context(history, folder=tmp_path)
    weights = {"w": np.ones(2, dtype=np.float32)}
    Checkpoints(context).save(1, history, weights)
    later = [*history, trial_of(1, truth.uniform(INT8), 4.0)]
    assert (Checkpoints(context).latest(2, later)["w"] == weights["w"]).all()
    assert Checkpoints(context).latest(1, history) is None  # trial 1 is repeated: start from before it
    other = [trial_of(0, truth.uniform(INT8), 4.0)]
    assert Checkpoints(context).latest(2, other) is None
    assert Checkpoints(truth.context(history, folder=tmp_path, seed=1)).latest(2, later) is None
    assert Checkpoints(context, "another policy").latest(2, later) is None


def test_a_torn_checkpoint_is_passed_over_and_few_are_kept(tmp_path):
    truth = MixedTruth(blocks=2)
    history = [trial_of(0, truth.space.default(), 8.0)]
    checkpoints = Checkpoints(truth.context(history, folder=tmp_path))
    for number in range(1, 6):
        checkpoints.save(number, history, {"w": np.full(2, number, dtype=np.float32)})
    files = sorted((tmp_path / "policy").iterdir())
    assert len(files) == 3
    files[-1].write_bytes(files[-1].read_bytes()[:100])
    assert checkpoints.latest(9, history)["w"][0] == 4.0


def test_a_folder_that_cannot_be_written_is_a_host_error(tmp_path):
    truth = MixedTruth(blocks=2)
    (tmp_path / "policy").write_text("a file where the folder should be")
    checkpoints = Checkpoints(truth.context([], folder=tmp_path))
    with pytest.raises(EdgeoptError, match="cannot write"):
        checkpoints.save(1, [], {"w": np.ones(1)})


def test_a_proposal_leaves_nothing_in_the_temporary_folder(tmp_path, monkeypatch):
    (tmp_path / "tmp").mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path / "tmp"))
    history = []
    ppo.Ppo(MixedTruth(1).context(history)).propose(0, [])
    # torch keeps one folder per user there, made when it is imported; a logger would make one per proposal.
    left = [path.name for path in (tmp_path / "tmp").iterdir() if not path.name.startswith("torchinductor")]
    assert left == []
