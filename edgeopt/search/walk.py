"""Dozens of episodes at once in numpy: each walks all decision points and builds one candidate.

All episodes stand at the same point (they have the same length), so one step is a few array operations.
The reward of a step is how much it lowers the predicted log figure; at the end the running sum, which
prices options and boundaries only, is corrected to the surrogate's full prediction, or to the *measurement*
where that very candidate was measured. Constraints are not in the reward: options that would break the
accuracy budget are masked while there is another.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from edgeopt.search.features import (
    CONTEXT_FEATURES,
    OPTION_FEATURES,
    PLAIN_FEATURES,
    STATE_FEATURES,
    observation_size,
)
from edgeopt.search.figure import FLOOR
from edgeopt.search.layout import Codes
from edgeopt.search.surrogate import Surrogate
from edgeopt.search.view import View

Bools = NDArray[np.bool_]
Floats = NDArray[np.float64]
Reals = NDArray[np.float32]

CAUTION = (0.0, 0.25, 0.5)
"""Standard deviations added to the predicted drop when options are masked; drawn per episode."""
TIED_SHARE = 0.5
"""Of the episodes in which repeated blocks must decide alike."""
INFEASIBLE_RETURN = -0.2
"""Of an episode that ends in a candidate measured as infeasible: worse than changing nothing (0)."""
CLIP = 5.0
SCALE = 20.0
"""Of features that are shares of the figure: a twentieth of it is 1."""


class Walk:
    """State of B simultaneous episodes over one surrogate.

    Attributes:
        view: What is the same in all episodes.
        codes: `(B, P)` decisions so far (the default where not decided yet).
        position: The point to decide next.
    """

    def __init__(
        self,
        surrogate: Surrogate,
        count: int,
        rng: np.random.Generator,
        view: View | None = None,
        returns: Callable[[Codes], Floats] | None = None,
        given: Codes | None = None,
    ) -> None:
        """Begin `count` episodes.

        Args:
            view: Of this surrogate, where it was made already.
            returns: What whole candidates `(B, P)` are worth `(B,)`, in the place of what the surrogate
                predicts and the study measured: for boards whose truth is known.
            given: `(S, P)` each episode draws one row: what is decided before it begins, -1 where it decides
                itself. Only of structure: what neighbours price (precision) must be decided in order.
        """
        self.surrogate, self.layout, self.count, self.rng = surrogate, surrogate.layout, count, rng
        self.view = view or View(surrogate)
        self._returns = returns or self._known_returns
        self._offered = given
        self._exact = {
            row.tobytes(): float(log) if fine else None
            for row, log, fine in zip(surrogate.codes, surrogate.logs, surrogate.feasible, strict=True)
        }
        self._masks: Bools | None = None
        self.reset()

    @property
    def observation_size(self) -> int:
        return observation_size(self.layout.width)

    def reset(
        self, tied: Bools | None = None, caution: Floats | None = None, given: Codes | None = None
    ) -> Reals:
        """Start new episodes.

        Args:
            tied: `(B,)` episodes in which repeated blocks decide alike; drawn where not given.
            caution: `(B,)` see `CAUTION`; drawn where not given.
            given: `(B, P)` what is decided already, -1 elsewhere; drawn from those offered, if any.

        Returns:
            The first observations, `(B, observation_size)`.
        """
        layout, count = self.layout, self.count
        self.position = 0
        self.codes = np.tile(layout.default, (count, 1))
        self._tied = self.rng.random(count) < TIED_SHARE if tied is None else tied
        self._caution = self.rng.choice(CAUTION, count) if caution is None else caution
        self._spoken = np.zeros((count, layout.count + 1), dtype=np.intp)
        self._inner = np.ones(count)  # graph figure, in units of the default model's
        self._factor = np.zeros(count)  # log of the runtime factors
        self._drop, self._drop_variance = np.zeros(count), np.zeros(count)
        self._twins = np.zeros((int(layout.group.max(initial=0)) + 1, count, layout.width))
        if given is None and self._offered is not None:
            given = self._offered[self.rng.integers(len(self._offered), size=count)]
        self._given = given
        if given is not None:
            self._decide_ahead(given)
        self._earned = -self._log()  # what was decided before is no merit of the episode
        self._prepare()
        return self.observe()

    def observe(self) -> Reals:
        """`(B, observation_size)` of the point to decide."""
        p, count, width, view = self.position, self.count, self.layout.width, self.view
        result = np.zeros((count, CONTEXT_FEATURES + width * OPTION_FEATURES), dtype=np.float32)
        budget = self.surrogate.allowed_drop
        static = view.static.shape[1]
        result[:, :static] = view.static[p]
        state = result[:, static : static + STATE_FEATURES]
        twins = self._twins[self.layout.group[p]]
        decided = twins.sum(axis=1)
        state[:, 0] = 1 - p / self.layout.count
        state[:, 1] = self._log()
        state[:, 2] = 1.0 if budget is None else 1 - self._drop / max(budget, 1e-6)
        state[:, 3] = budget is not None
        state[:, 4] = self._tied
        state[:, 5] = decided > 0
        state[:, 6], state[:, 7] = view.board
        options = result[:, CONTEXT_FEATURES:].reshape(count, width, OPTION_FEATURES)
        inner = np.maximum(self._inner, FLOOR)[:, None] / SCALE
        options[:, self.layout.default[p], 0] = 1.0
        options[..., 1] = SCALE * self._delta
        options[..., 2] = SCALE * self._boundary
        options[..., 3] = view.drops[p] / max(budget or 1.0, 1e-6)
        options[..., 4] = SCALE * view.doubts[p]
        options[..., 5] = self._alike
        options[..., 6] = twins / np.maximum(decided, 1)[:, None]
        options[..., 7] = view.best[p]
        options[..., 8] = view.elite[p]
        options[..., 9] = view.ahead[p] / inner
        options[..., 10] = view.drop_costs[p] / inner
        options[..., PLAIN_FEATURES:] = view.names[p]
        options *= view.exists[p][:, None]
        return np.clip(result, -CLIP, CLIP, out=result)

    def masks(self) -> Bools:
        """`(B, K)` options that may be chosen now; at least one per episode."""
        if self._masks is None:
            self._masks = self._allowed()
        return self._masks

    def allow(self, masks: Bools) -> None:
        """Replace the masks of the current point: to replay an episode that was decided elsewhere."""
        self._masks = masks

    def _allowed(self) -> Bools:
        p, budget, view = self.position, self.surrogate.allowed_drop, self.view
        exists, drops = view.exists[p], view.drops[p]
        legal = np.tile(exists, (self.count, 1))
        if budget is not None:
            drop = self._drop[:, None] + drops
            variance = self._drop_variance[:, None] + view.drop_doubts[p] ** 2
            kept = drop + self._caution[:, None] * np.sqrt(variance) <= budget + 1e-9
            # Where nothing keeps the budget, what loses least.
            least = drops <= drops[exists].min() + 1e-12
            safe = legal & kept
            legal = np.where(safe.any(axis=1)[:, None], safe, legal & least)
        same = legal & (self._twins[self.layout.group[p]] > 0)
        bound = self._tied & same.any(axis=1)
        legal = np.where(bound[:, None], same, legal)
        if self._given is not None:
            ahead = self._given[:, p]
            legal[ahead >= 0] = np.arange(self.layout.width) == ahead[ahead >= 0, None]
        return legal

    def step(self, actions: NDArray[np.integer]) -> tuple[Floats, bool]:
        """Decide the current point in every episode.

        Args:
            actions: `(B,)` options; one that is masked is replaced by the first that is not.

        Returns:
            Rewards `(B,)`, and whether the episodes ended.
        """
        p, rows, view = self.position, np.arange(self.count), self.view
        masks = self.masks()
        chosen = np.where(masks[rows, actions], actions, masks.argmax(axis=1))
        before = self._log()
        self.codes[:, p] = chosen
        self._spoken[:, p] = self.layout.word[p, chosen]
        new = np.ones(self.count) if self._given is None else (self._given[:, p] < 0).astype(np.float64)
        if view.is_runtime[p]:
            self._factor += new * view.prices[p, chosen]
        else:
            self._inner += new * (view.prices[p, chosen] + self._boundary[rows, chosen])
        self._drop += new * view.drops[p, chosen]
        self._drop_variance += new * view.drop_doubts[p, chosen] ** 2
        self._twins[self.layout.group[p], rows, chosen] += new
        rewards = before - self._log()
        self._earned += rewards
        self.position += 1
        if self.position < self.layout.count:
            self._prepare()
            return rewards, False
        # What the last reward lacks to make the return that of the whole candidate.
        return rewards + self._returns(self.codes) - self._earned, True

    def _decide_ahead(self, given: Codes) -> None:
        """Price what was decided before: figure and accuracy left are seen from the first step."""
        for p in np.flatnonzero((given >= 0).any(axis=0)):
            episodes = np.flatnonzero(given[:, p] >= 0)
            chosen = given[episodes, p]
            self.codes[episodes, p] = chosen
            self._inner[episodes] += self.view.prices[p, chosen]
            self._drop[episodes] += self.view.drops[p, chosen]
            self._drop_variance[episodes] += self.view.drop_doubts[p, chosen] ** 2
            self._twins[self.layout.group[p], episodes, chosen] += 1

    def _log(self) -> Floats:
        return np.asarray(np.log(np.maximum(self._inner, FLOOR)) + self._factor)

    def _known_returns(self, codes: Codes) -> Floats:
        """`(B,)` as measured where a candidate was, else as predicted."""
        predicted, _ = self.surrogate.predict(codes)
        returns = -predicted
        for b, row in enumerate(codes):
            if (key := row.tobytes()) in self._exact:
                exact = self._exact[key]
                returns[b] = INFEASIBLE_RETURN if exact is None else -exact
        return np.asarray(returns)

    def _prepare(self) -> None:
        """Price the options of the current point: `(B, K)` each."""
        p, view, shape = self.position, self.view, (self.count, self.layout.width)
        self._masks = None
        others, prices, is_input = view.arrivals[p]
        if len(others):
            words = self._spoken[:, others]  # (B, m)
            self._boundary = prices[np.arange(len(others)), words].sum(axis=1)
            agree = words[:, is_input, None] == self.layout.word[p][None, None, :]
            self._alike = agree.mean(axis=1) if is_input.any() else np.zeros(shape)
        else:
            self._boundary, self._alike = np.zeros(shape), np.zeros(shape)
        if view.is_runtime[p]:
            self._delta = np.tile(view.prices[p], (self.count, 1))
        else:
            change = view.prices[p] + self._boundary
            after = np.maximum(self._inner[:, None] + change, FLOOR)
            self._delta = np.log(after / np.maximum(self._inner, FLOOR)[:, None])
