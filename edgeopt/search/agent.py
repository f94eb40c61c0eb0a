"""Trains the policy against the surrogate and samples candidates from it. Imports torch: import it late."""

from __future__ import annotations

import random
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np
import torch
from sb3_contrib import MaskablePPO
from stable_baselines3.common.logger import Logger

from edgeopt.search.env import SearchVecEnv
from edgeopt.search.layout import Codes
from edgeopt.search.policy import OptionPolicy, as_tensor
from edgeopt.search.surrogate import Surrogate
from edgeopt.search.view import View
from edgeopt.search.walk import Floats, Walk
from edgeopt.search.weights import Arrays

Returns = Callable[[Codes], Floats]

EPISODES = 32
"""Walked at once; fewer in long spaces, so that a rollout stays near `ROLLOUT_STEPS`."""
ROLLOUT_STEPS = 4096
TRAIN_STEPS = 6144
"""Environment steps of training per proposal: a fixed number, so that proposals can be repeated."""
IMITATED = 4
"""Best measured candidates whose decisions the policy is drawn towards."""
IMITATION_STEPS = 12
BATCH = 1024


class Agent:
    """MaskablePPO on one surrogate: new for every proposal, with the weights of the last one."""

    def __init__(
        self,
        surrogate: Surrogate,
        seed: int,
        weights: Arrays | None,
        returns: Returns | None = None,
        given: Codes | None = None,
    ) -> None:
        """`returns` and `given` as in `Walk`: the one for boards whose truth is known, the other what the
        episodes of training find decided."""
        self.surrogate = surrogate
        points = max(surrogate.layout.count, 1)
        count = int(np.clip(ROLLOUT_STEPS // points, 4, EPISODES))
        self.walk = Walk(surrogate, count, np.random.default_rng(seed), returns=returns, given=given)
        rounds = max(1, round(ROLLOUT_STEPS / (points * count)))  # whole episodes only
        self.model = MaskablePPO(
            OptionPolicy, SearchVecEnv(self.walk), seed=seed, device="cpu",
            n_steps=rounds * points, batch_size=BATCH, n_epochs=4, gamma=1.0, gae_lambda=0.98,
            learning_rate=1e-3, ent_coef=0.01, vf_coef=0.5, clip_range=0.2,
        )  # fmt: skip
        self.model.set_logger(Logger(None, []))  # its own would make a folder in /tmp for each proposal
        if weights is not None:
            state = {name: torch.as_tensor(array) for name, array in weights.items()}
            self.model.policy.load_state_dict(state)

    def train(self) -> None:
        """First towards the best measured candidates, then for reward on the surrogate."""
        self._imitate()
        self.learn(TRAIN_STEPS)

    def learn(self, steps: int) -> None:
        """For reward alone, for at least so many steps of the environment."""
        self.model.learn(steps, log_interval=sys.maxsize)

    def sample(self, episodes: int, given: Codes | None = None) -> Codes:
        """`(episodes, P)` candidates drawn from the policy, all in one walk.

        Args:
            given: `(episodes, P)` what is decided already, -1 where the policy decides.
        """
        walk = Walk(self.surrogate, episodes, self.walk.rng, self.walk.view)
        observations, done = walk.reset(given=given), False
        while not done:
            actions, _ = self.model.predict(observations, action_masks=walk.masks())
            _, done = walk.step(actions)
            observations = observations if done else walk.observe()
        return walk.codes

    def weights(self) -> Arrays:
        """The policy's arrays, by name."""
        return {name: tensor.numpy().copy() for name, tensor in self.model.policy.state_dict().items()}

    def _imitate(self) -> None:
        """Raise the likelihood of what the best trials decided, by how much they gained.

        Source: Oh et al., Self-Imitation Learning, 2018: only episodes better than the default teach.
        """
        best = self.surrogate.elite(IMITATED)
        gains = np.sort(-self.surrogate.logs[self.surrogate.feasible])[::-1][: len(best)]
        best, gains = best[gains > 0], gains[gains > 0]
        if not len(best):
            return
        observations, masks, actions = replay(self.walk.view, best)
        weight = as_tensor(np.tile(gains / gains.sum(), len(actions) // len(gains)))
        policy = self.model.policy
        for _ in range(IMITATION_STEPS):
            _, log_probability, _ = policy.evaluate_actions(
                as_tensor(observations), torch.as_tensor(actions), torch.as_tensor(masks)
            )
            loss = -(weight * log_probability).sum() / self.surrogate.layout.count
            policy.optimizer.zero_grad()
            torch.autograd.backward(loss)
            torch.nn.utils.clip_grad_norm_(policy.parameters(), 0.5)
            policy.optimizer.step()


def replay(view: View, codes: Codes) -> tuple[Any, Any, Any]:
    """Observations, masks and actions of the episodes that build `codes` `(B, P)`, step by step."""
    count = len(codes)
    walk = Walk(view.surrogate, count, np.random.default_rng(0), view)
    observation = walk.reset(np.zeros(count, dtype=bool), np.zeros(count))
    steps = []
    for p in range(view.layout.count):
        masks = walk.masks().copy()
        # A measured candidate may have chosen what the surrogate would mask by now: it is allowed to show it.
        masks[np.arange(count), codes[:, p]] = True
        walk.allow(masks)
        steps.append((observation, masks, codes[:, p]))
        _, done = walk.step(codes[:, p])
        observation = observation if done else walk.observe()
    seen, masked, chosen = (np.concatenate(part) for part in zip(*steps, strict=True))
    return seen, masked, chosen


@contextmanager
def isolated(seed: int) -> Iterator[None]:
    """Run torch reproducibly on one thread, and leave every global random state as it was."""
    threads, python, array = torch.get_num_threads(), random.getstate(), np.random.get_state()
    with torch.random.fork_rng(devices=[]):
        torch.set_num_threads(1)
        torch.manual_seed(seed)
        try:
            yield
        finally:
            torch.set_num_threads(threads)
            random.setstate(python)
            np.random.set_state(array)
