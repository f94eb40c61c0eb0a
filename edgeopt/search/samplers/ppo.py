"""Reinforcement learning on a surrogate that every measurement corrects: the default.

One proposal:

1. Fit the surrogate on all trials so far: options and the boundaries between them, pattern by pattern.
2. Train the policy (MaskablePPO, the weights of the last proposal) on thousands of episodes that the
   surrogate prices; where an episode ends in a measured candidate, its reward is the measurement. The best
   measured candidates are also imitated directly.
3. Draw candidates from the policy; add variants of the best measured ones, and refine the most promising.
4. Propose the one with the largest expected improvement x chance to keep every constraint; once in a while
   explore instead. Nothing that was tried is proposed again.

The same seed and the same measurements give the same proposals, also over a kill and a resume.

Source: Schulman et al., Proximal Policy Optimization Algorithms, 2017; Huang and Ontañón, A Closer Look at
Invalid Action Masking in Policy Gradient Algorithms, 2022.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np

from edgeopt.core.quantity import Quantity
from edgeopt.search.acquisition import daring, fresh, merit
from edgeopt.search.checkpoint import Checkpoints
from edgeopt.search.context import size
from edgeopt.search.layout import Codes, Layout
from edgeopt.search.neighbours import everything, mutate, uniform
from edgeopt.search.samplers import Example
from edgeopt.search.samplers._examples import LONG, SMALL
from edgeopt.search.surrogate import Surrogate

if TYPE_CHECKING:
    from optuna.samplers import BaseSampler

    from edgeopt.search.context import SearchContext

EXAMPLES = (Example(SMALL), Example(LONG))
TAKES_POLICY = True
"""It starts from `SearchContext.policy`."""

DRAWN = 64
"""Candidates drawn from the policy."""
VARIANTS = 128
"""Variants made in each round of refining."""
REFINEMENTS = 4
PARENTS = 16
SMALL_SPACE = 4096
"""Up to this many candidates, all of them are ranked: nothing can be missed."""
EXPLORATION = 0.1
"""Share of proposals that follow one draw from the surrogate's belief instead of its expectation."""


def create(context: SearchContext) -> BaseSampler:
    """The sampler, as Optuna calls it."""
    from edgeopt.search.samplers._joint import JointSampler

    ppo = Ppo(context)
    return JointSampler(ppo.propose, lambda: ppo.predicted)


class Ppo:
    """Proposes encoded candidates for one context.

    Attributes:
        predicted: What is expected of the last proposal, by figure.
    """

    def __init__(self, context: SearchContext) -> None:
        self.context = context
        self.layout = Layout(context.space)
        self.checkpoints = Checkpoints(context, context.policy.digest)
        self.predicted: Mapping[str, Quantity] = {}

    def propose(self, number: int, running: list[dict[str, Any]]) -> dict[str, str]:
        """Decisions for trial `number`.

        Args:
            running: Decisions of candidates that were proposed and are not measured yet.
        """
        history = self.context.history()
        rng = np.random.default_rng([self.context.seed, number])
        surrogate = Surrogate(self.layout, self.context)
        drawn = self._drawn(surrogate, number, self._structures(surrogate, rng))
        pending = self.context.pending(running)
        tried = self.layout.encode([t.candidate for t in history] + pending)
        chosen = self._choose(surrogate, drawn, tried, rng)
        self.predicted = surrogate.expected(chosen)
        return dict(self.layout.decode(chosen).decisions)

    def _structures(self, surrogate: Surrogate, rng: np.random.Generator) -> Codes | None:  # noqa: ARG002
        """`(S, P)` what episodes find decided, see `Walk`; None: the policy decides everything."""
        return None

    def _drawn(self, surrogate: Surrogate, number: int, given: Codes | None) -> Codes:
        """Train the policy and draw from it: freely, and once for what is given."""
        from edgeopt.search.agent import Agent, isolated

        history = self.context.history()
        seed = int(np.random.SeedSequence([self.context.seed, number]).generate_state(1)[0] % 2**31)
        with isolated(seed):
            weights = self.checkpoints.latest(number, history) or self.context.policy.arrays
            free = None if given is None else np.concatenate([given, np.full_like(given, -1)])
            agent = Agent(surrogate, seed, weights, given=free)  # half of the episodes decide everything
            agent.train()
            drawn = agent.sample(DRAWN)
            if given is not None:
                rows = given[np.arange(DRAWN) % len(given)]
                drawn = np.concatenate([drawn, agent.sample(DRAWN, rows)])
            self.checkpoints.save(number, history, agent.weights())
        return drawn

    def _choose(self, surrogate: Surrogate, drawn: Codes, tried: Codes, rng: np.random.Generator) -> Codes:
        pool = fresh(self._pool(surrogate, drawn, rng), tried)
        if not len(pool):
            # Exhausted, or nearly: the loop ends on `context.exhausted`; until then repeat the best.
            best = surrogate.incumbent()
            return self.layout.default if best is None else best[0]
        explore = rng.random() < EXPLORATION
        scores = daring(surrogate, pool, rng) if explore else merit(surrogate, pool)
        return np.asarray(pool[int(np.argmax(scores))])

    def _pool(self, surrogate: Surrogate, drawn: Codes, rng: np.random.Generator) -> Codes:
        """What the policy drew, and what grows from it and from the best trials by small changes."""
        if size(self.context.space) <= SMALL_SPACE:
            return np.concatenate([drawn, everything(self.layout)])
        elite = surrogate.elite(PARENTS)
        pool = np.unique(np.concatenate([drawn, elite, uniform(self.layout)]), axis=0)
        for _ in range(REFINEMENTS):
            best = np.argsort(-merit(surrogate, pool), kind="stable")[:PARENTS]
            parents = np.concatenate([pool[best], elite])
            variants = mutate(self.layout, parents, VARIANTS, rng)
            pool = np.unique(np.concatenate([pool, variants]), axis=0)
        return pool
