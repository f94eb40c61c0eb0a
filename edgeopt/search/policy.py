"""The agent's network: one small scorer shared by all options, so it fits any number of them."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from sb3_contrib.common.maskable.policies import MaskableActorCriticPolicy
from torch import nn

from edgeopt.search.features import (
    AHEAD_FEATURE,
    BEST_FEATURE,
    CONTEXT_FEATURES,
    DROP_COST_FEATURE,
    HIDDEN,
    OPTION_FEATURES,
    PRICE_FEATURE,
)


class OptionScorer(nn.Module):
    """Scores each option from (context, option), and values a state from (context, pooled options).

    The scores start from a sensible rule (prefer what is cheap here and in what follows, and what the best
    trial chose), which training then corrects: tens of trials are too few to learn that from nothing.
    """

    def __init__(self, width: int) -> None:
        super().__init__()
        self.latent_dim_pi, self.latent_dim_vf = width, HIDDEN
        self.score = _tower(CONTEXT_FEATURES + OPTION_FEATURES)
        self.output = nn.Linear(HIDDEN, 1)
        self.value = _tower(CONTEXT_FEATURES + 2 * OPTION_FEATURES)
        self.rule = nn.Parameter(torch.zeros(OPTION_FEATURES))

    def start(self) -> None:
        """Set the rule; called after the weights were initialised."""
        with torch.no_grad():
            self.output.weight.mul_(0.01)
            self.rule[PRICE_FEATURE] = self.rule[AHEAD_FEATURE] = self.rule[DROP_COST_FEATURE] = -2.0
            self.rule[BEST_FEATURE] = 1.0

    def forward(self, observations: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """Scores `(B, K)` and value features `(B, HIDDEN)` of observations `(B, size)`."""
        return self.forward_actor(observations), self.forward_critic(observations)

    def forward_actor(self, observations: torch.Tensor) -> torch.Tensor:
        """Scores `(B, K)`."""
        context, options = _split(observations)
        repeated = context[:, None].expand(-1, options.shape[1], -1)
        hidden = self.score(torch.cat([repeated, options], dim=-1))
        scores: torch.Tensor = self.output(hidden).squeeze(-1) + options @ self.rule
        return scores

    def forward_critic(self, observations: torch.Tensor) -> torch.Tensor:
        """Value features `(B, HIDDEN)`."""
        context, options = _split(observations)
        pooled = torch.cat([context, options.mean(dim=1), options.amin(dim=1)], dim=-1)
        features: torch.Tensor = self.value(pooled)
        return features


class OptionPolicy(MaskableActorCriticPolicy):
    """`OptionScorer` in the place of sb3-contrib's MLP: its scores are the logits."""

    def _build_mlp_extractor(self) -> None:
        width = (self.features_dim - CONTEXT_FEATURES) // OPTION_FEATURES
        self.mlp_extractor = OptionScorer(width)  # type: ignore[assignment]

    def _build(self, lr_schedule: Callable[[float], float]) -> None:
        super()._build(lr_schedule)
        self.action_net = nn.Identity()
        self.mlp_extractor.start()  # type: ignore[operator]
        make: Callable[..., torch.optim.Optimizer] = self.optimizer_class
        self.optimizer = make(self.parameters(), lr=lr_schedule(1), **self.optimizer_kwargs)


def _tower(inputs: int) -> nn.Sequential:
    return nn.Sequential(nn.Linear(inputs, HIDDEN), nn.Tanh(), nn.Linear(HIDDEN, HIDDEN), nn.Tanh())


def _split(observations: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    context = observations[:, :CONTEXT_FEATURES]
    width = (observations.shape[1] - CONTEXT_FEATURES) // OPTION_FEATURES
    return context, observations[:, CONTEXT_FEATURES:].reshape(-1, width, OPTION_FEATURES)


def as_tensor(array: np.ndarray[Any, Any]) -> torch.Tensor:
    """A float32 tensor of an array."""
    return torch.as_tensor(array, dtype=torch.float32)
