# ruff: noqa: ARG002  (the signatures are the frameworks')
"""The search as a reinforcement-learning environment: `stable_baselines3.VecEnv` and `gymnasium.Env`."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, cast

import gymnasium
import numpy as np
from gymnasium import spaces
from numpy.typing import NDArray
from stable_baselines3.common.vec_env import VecEnv

from edgeopt.search.surrogate import Surrogate
from edgeopt.search.walk import CLIP, Walk

Observation = NDArray[np.float32]


def _spaces(walk: Walk) -> tuple[spaces.Box, spaces.Discrete]:
    seen = spaces.Box(-CLIP, CLIP, shape=(walk.observation_size,), dtype=np.float32)
    return seen, spaces.Discrete(walk.layout.width)


class SearchVecEnv(VecEnv):
    """A walk of many episodes, as stable-baselines3 and sb3-contrib drive it."""

    def __init__(self, walk: Walk) -> None:
        self.walk = walk
        super().__init__(walk.count, *_spaces(walk))

    def reset(self) -> Observation:
        """First observations, `(B, observation_size)`."""
        return self.walk.reset()

    def step_async(self, actions: NDArray[np.integer]) -> None:
        self._actions = actions

    def step_wait(self) -> tuple[Observation, NDArray[np.float32], NDArray[np.bool_], list[dict[str, Any]]]:
        """Observations, rewards, dones and infos of one step of every episode; ended episodes start anew."""
        rewards, done = self.walk.step(self._actions)
        infos: list[dict[str, Any]] = [{} for _ in range(self.num_envs)]
        observations = self.walk.reset() if done else self.walk.observe()
        return observations, rewards.astype(np.float32), np.full(self.num_envs, done), infos

    def close(self) -> None:
        """Nothing to release."""

    def has_attr(self, attr_name: str) -> bool:
        return hasattr(self.walk, attr_name) or attr_name == "action_masks"

    def get_attr(self, attr_name: str, indices: Any = None) -> list[Any]:
        if attr_name == "render_mode":
            return [None] * self.num_envs
        return [getattr(self.walk, attr_name)] * self.num_envs

    def set_attr(self, attr_name: str, value: Any, indices: Any = None) -> None:
        raise AttributeError(f"{attr_name} of the search environment cannot be set")

    def env_method(self, method_name: str, *args: Any, indices: Any = None, **kwargs: Any) -> list[Any]:
        """Only `action_masks`: which options each episode may choose, B rows of `(K,)`."""
        if method_name != "action_masks":
            raise AttributeError(method_name)
        return list(self.walk.masks())

    def env_is_wrapped(self, wrapper_class: type, indices: Any = None) -> list[bool]:
        return [False] * self.num_envs

    def seed(self, seed: int | None = None) -> Sequence[int | None]:
        """Start the episodes' draws (ties, caution) from `seed`."""
        self.walk.rng = np.random.default_rng(seed)
        return [seed] * self.num_envs


class EpisodeEnv(gymnasium.Env[Observation, np.int64]):
    """One episode, for tools that speak Gymnasium: each step decides one point of the space."""

    metadata = {"render_modes": []}  # noqa: RUF012  (gymnasium declares it so)

    def __init__(self, surrogate: Surrogate) -> None:
        self.walk = Walk(surrogate, 1, np.random.default_rng(0))
        seen, chosen = _spaces(self.walk)
        self.observation_space = cast(spaces.Space[Observation], seen)
        self.action_space = chosen

    def reset(
        self, *, seed: int | None = None, options: dict[str, Any] | None = None
    ) -> tuple[Observation, dict[str, Any]]:
        """Start over; the same seed draws the same kind of episode."""
        super().reset(seed=seed)
        self.walk.rng = self.np_random
        return self.walk.reset()[0], {}

    def step(self, action: np.int64) -> tuple[Observation, float, bool, bool, dict[str, Any]]:
        """Decide the current point."""
        rewards, done = self.walk.step(np.array([action]))
        observation = np.zeros(self.walk.observation_size, np.float32) if done else self.walk.observe()[0]
        info = {"candidate": self.walk.codes[0].copy()} if done else {}
        return observation, float(rewards[0]), done, False, info

    def action_masks(self) -> NDArray[np.bool_]:
        """`(K,)` options that may be chosen now."""
        return np.asarray(self.walk.masks()[0])
