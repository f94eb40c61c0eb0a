"""What a study's agent starts from: files that hold data only, checked before anything is spent."""

from __future__ import annotations

import pickle

import numpy as np
import pytest
from mixed_truth import MixedTruth, trial_of

from edgeopt.core.errors import ConfigError
from edgeopt.search import initial, weights
from edgeopt.search.initial import SHAPES, InitialPolicy
from edgeopt.search.layout import Layout
from edgeopt.search.samplers import ppo
from edgeopt.search.surrogate import Surrogate


def some_arrays(seed=0):
    rng = np.random.default_rng(seed)
    return {name: rng.normal(size=shape).astype(np.float32) for name, shape in SHAPES.items()}


def written(tmp_path, content):
    path = tmp_path / "policy.npz"
    path.write_bytes(content)
    return str(path)


def test_the_shapes_are_those_of_the_network():
    from edgeopt.search.agent import Agent, isolated

    truth = MixedTruth(blocks=2)
    with isolated(0):
        agent = Agent(Surrogate(Layout(truth.space), truth.context([])), 0, None)
    assert {name: array.shape for name, array in agent.weights().items()} == SHAPES


def test_a_file_comes_back_bit_by_bit_and_is_always_the_same(tmp_path):
    arrays = some_arrays()
    content = initial.dump(arrays, rounds=3)
    assert content == initial.dump(some_arrays(), rounds=3)
    policy = initial.load(written(tmp_path, content))
    assert policy.arrays is not None
    assert all((policy.arrays[name] == array).all() for name, array in arrays.items())
    assert weights.load(content)[1]["rounds"] == 3


def test_the_shipped_policy_fits_and_is_small():
    policy = initial.load("pretrained")
    assert policy.arrays is not None
    assert initial.SHIPPED.stat().st_size < 1_000_000
    assert initial.SHIPPED.with_name("README.md").exists()


def test_scratch_needs_no_file():
    assert initial.load("scratch") == InitialPolicy()


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (b"", "is not a policy"),
        (b"not an archive", "is not a policy"),
        (pickle.dumps({"w": [1.0]}), "is not a policy"),
        (initial.dump(some_arrays())[:500], "is not a policy"),
        (weights.dump(some_arrays(), {}), "holds arrays, but no policy"),
        (weights.dump(some_arrays(), {"format": initial.FORMAT, "features": 1}), "version 1 of the features"),
        (initial.dump(some_arrays() | {"value_net.bias": np.zeros(2, np.float32)}), "value_net.bias is 2"),
        (initial.dump({k: v for k, v in some_arrays().items() if "rule" not in k}), "rule is missing"),
        (initial.dump(some_arrays() | {"value_net.bias": np.full(1, np.nan, np.float32)}), "no finite"),
    ],
)
def test_what_is_no_policy_of_this_version_is_refused_in_one_line(tmp_path, content, said):
    with pytest.raises(ConfigError, match=said) as caught:
        initial.load(written(tmp_path, content))
    assert caught.value.hint
    assert "\n" not in caught.value.message


def test_pickled_objects_are_refused(tmp_path):
    with (tmp_path / "policy.npz").open("wb") as stream:
        np.savez(stream, header=np.frombuffer(b"{}", np.uint8), w=np.array([{}], dtype=object))
    with pytest.raises(ConfigError, match="is not a policy"):
        initial.load(str(tmp_path / "policy.npz"))


def test_a_missing_file_is_named():
    with pytest.raises(ConfigError, match=r"--policy /nowhere\.npz"):
        initial.load("/nowhere.npz")


def test_a_sampler_without_an_agent_takes_no_policy():
    assert initial.of_sampler("tpe", None) is None
    with pytest.raises(ConfigError, match="sampler tpe has no agent"):
        initial.of_sampler("tpe", "scratch")
    assert initial.of_sampler("ppo", "scratch") == InitialPolicy()


def test_the_policy_given_is_what_the_agent_starts_from(tmp_path, monkeypatch):
    from edgeopt.search import agent as module

    started = []
    original = module.Agent.__init__

    def spy(self, surrogate, seed, arrays, **more):
        started.append(arrays)
        original(self, surrogate, seed, arrays, **more)

    monkeypatch.setattr(module.Agent, "__init__", spy)
    truth = MixedTruth(blocks=2)
    history = [trial_of(0, truth.space.default(), 8.0)]
    policy = initial.load(written(tmp_path, initial.dump(some_arrays())))
    sampler = ppo.Ppo(truth.context(history, policy=policy, folder=tmp_path))
    for number in (1, 2):
        candidate = truth.space.candidate(sampler.propose(number, []))
        history.append(trial_of(number, candidate, 7.0))
    assert started[0] is policy.arrays
    assert any((started[1][name] != policy.arrays[name]).any() for name in SHAPES)  # it learned
