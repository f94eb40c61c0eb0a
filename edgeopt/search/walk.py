"""Dozens of episodes at once in numpy: each walks all decision points and builds one candidate.

All episodes stand at the same point (they have the same length), so one step is a few array operations.
The reward of a step is how much it lowers the predicted log figure; at the end the running sum, which
prices options and boundaries only, is corrected to the surrogate's full prediction, or to the *measurement*
where that very candidate was measured. Constraints are not in the reward: options that would break the
accuracy budget are masked while there is another.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from edgeopt.search.features import (
    CONTEXT_FEATURES,
    OPTION_FEATURES,
    STATE_FEATURES,
    cores,
    name_features,
    observation_size,
    point_features,
)
from edgeopt.search.figure import FLOOR
from edgeopt.search.layout import FAMILIES, Codes
from edgeopt.search.prior import region_shares
from edgeopt.search.surrogate import Surrogate

Bools = NDArray[np.bool_]
Floats = NDArray[np.float64]
Reals = NDArray[np.float32]

CAUTION = (0.0, 0.25, 0.5)
"""Standard deviations added to the predicted drop when options are masked; drawn per episode."""
TIED_SHARE = 0.5
"""Of the episodes in which repeated blocks must decide alike."""
INFEASIBLE_RETURN = -0.2
"""Of an episode that ends in a candidate measured as infeasible: worse than changing nothing (0)."""
ELITE = 5
CLIP = 5.0


class Walk:
    """State of B simultaneous episodes over one surrogate.

    Attributes:
        codes: `(B, P)` decisions so far (the default where not decided yet).
        position: The point to decide next.
    """

    def __init__(self, surrogate: Surrogate, count: int, rng: np.random.Generator) -> None:
        self.surrogate, self.layout, self.count, self.rng = surrogate, surrogate.layout, count, rng
        self._prices, self._doubts = surrogate.objective.option_prices()
        self._is_runtime = self.layout.family == FAMILIES.index("runtime")
        self._drops, self._drop_doubts = _drops(surrogate)
        shares = region_shares(self.layout, "latency", {})
        self._static, self._names = point_features(self.layout, shares), name_features(self.layout)
        self._exists = np.arange(self.layout.width) < self.layout.options[:, None]
        self._neighbours = [self._arrivals(p) for p in range(self.layout.count)]
        self._best, self._elite = self._measured_choices()
        self._board = np.log2(cores(self.layout)) / 7, np.log1p(len(surrogate.codes)) / 5
        self._exact = {
            row.tobytes(): float(log) if fine else None
            for row, log, fine in zip(surrogate.codes, surrogate.logs, surrogate.feasible, strict=True)
        }
        self._masks: Bools | None = None
        self.reset()

    @property
    def observation_size(self) -> int:
        return observation_size(self.layout.width)

    def reset(self, tied: Bools | None = None, caution: Floats | None = None) -> Reals:
        """Start new episodes.

        Args:
            tied: `(B,)` episodes in which repeated blocks decide alike; drawn where not given.
            caution: `(B,)` see `CAUTION`; drawn where not given.

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
        self._twins = np.zeros((count, int(layout.group.max(initial=0)) + 1, layout.width))
        self._earned = np.zeros(count)
        self._prepare()
        return self.observe()

    def observe(self) -> Reals:
        """`(B, observation_size)` of the point to decide."""
        p, count, width = self.position, self.count, self.layout.width
        result = np.zeros((count, CONTEXT_FEATURES + width * OPTION_FEATURES), dtype=np.float32)
        budget = self.surrogate.allowed_drop
        static = self._static.shape[1]
        result[:, :static] = self._static[p]
        state = result[:, static : static + STATE_FEATURES]
        twins = self._twins[:, self.layout.group[p]]
        decided = twins.sum(axis=1)
        state[:, 0] = 1 - p / self.layout.count
        state[:, 1] = self._log()
        state[:, 2] = 1.0 if budget is None else 1 - self._drop / max(budget, 1e-6)
        state[:, 3] = budget is not None
        state[:, 4] = self._tied
        state[:, 5] = decided > 0
        state[:, 6], state[:, 7] = self._board
        options = result[:, CONTEXT_FEATURES:].reshape(count, width, OPTION_FEATURES)
        options[:, self.layout.default[p], 0] = 1.0
        options[..., 1] = 20 * self._delta
        options[..., 2] = 20 * self._boundary
        options[..., 3] = self._drops[p] / max(budget or 1.0, 1e-6)
        options[..., 4] = 20 * self._doubts[p]
        options[..., 5] = self._alike
        options[..., 6] = twins / np.maximum(decided, 1)[:, None]
        options[..., 7] = self._best[p]
        options[..., 8] = self._elite[p]
        options[..., 9:] = self._names[p]
        options *= self._exists[p][:, None]
        return np.clip(result, -CLIP, CLIP)

    def masks(self) -> Bools:
        """`(B, K)` options that may be chosen now; at least one per episode."""
        if self._masks is None:
            self._masks = self._allowed()
        return self._masks

    def allow(self, masks: Bools) -> None:
        """Replace the masks of the current point: to replay an episode that was decided elsewhere."""
        self._masks = masks

    def _allowed(self) -> Bools:
        p, budget = self.position, self.surrogate.allowed_drop
        legal = np.tile(self._exists[p], (self.count, 1))
        if budget is not None:
            drop = self._drop[:, None] + self._drops[p]
            variance = self._drop_variance[:, None] + self._drop_doubts[p] ** 2
            kept = drop + self._caution[:, None] * np.sqrt(variance) <= budget + 1e-9
            # Where nothing keeps the budget, what loses least.
            least = self._drops[p] <= self._drops[p][self._exists[p]].min() + 1e-12
            safe = legal & kept
            legal = np.where(safe.any(axis=1)[:, None], safe, legal & least)
        same = legal & (self._twins[:, self.layout.group[p]] > 0)
        bound = self._tied & same.any(axis=1)
        return np.where(bound[:, None], same, legal)

    def step(self, actions: NDArray[np.integer]) -> tuple[Floats, bool]:
        """Decide the current point in every episode.

        Args:
            actions: `(B,)` options; one that is masked is replaced by the first that is not.

        Returns:
            Rewards `(B,)`, and whether the episodes ended.
        """
        p, rows = self.position, np.arange(self.count)
        masks = self.masks()
        chosen = np.where(masks[rows, actions], actions, masks.argmax(axis=1))
        before = self._log()
        self.codes[:, p] = chosen
        self._spoken[:, p] = self.layout.word[p, chosen]
        if self._is_runtime[p]:
            self._factor += self._prices[p, chosen]
        else:
            self._inner += self._prices[p, chosen] + self._boundary[rows, chosen]
        self._drop += self._drops[p, chosen]
        self._drop_variance += self._drop_doubts[p, chosen] ** 2
        self._twins[rows, self.layout.group[p], chosen] += 1
        rewards = before - self._log()
        self._earned += rewards
        self.position += 1
        if self.position < self.layout.count:
            self._prepare()
            return rewards, False
        return rewards + self._correction(), True

    def _log(self) -> Floats:
        return np.asarray(np.log(np.maximum(self._inner, FLOOR)) + self._factor)

    def _correction(self) -> Floats:
        """`(B,)` what the last reward lacks to make the return that of the whole candidate."""
        predicted, _ = self.surrogate.predict(self.codes)
        returns = -predicted
        for b, row in enumerate(self.codes):
            if (key := row.tobytes()) in self._exact:
                exact = self._exact[key]
                returns[b] = INFEASIBLE_RETURN if exact is None else -exact
        return np.asarray(returns - self._earned)

    def _prepare(self) -> None:
        """Price the options of the current point: `(B, K)` each."""
        p = self.position
        self._masks = None
        others, prices, is_input = self._neighbours[p]
        words = self._spoken[:, others]  # (B, m)
        self._boundary = prices[np.arange(len(others)), words].sum(axis=1)
        agree = words[:, is_input, None] == self.layout.word[p][None, None, :]
        self._alike = agree.mean(axis=1) if is_input.any() else np.zeros((self.count, self.layout.width))
        if self._is_runtime[p]:
            self._delta = np.tile(self._prices[p], (self.count, 1))
        else:
            change = self._prices[p] + self._boundary
            after = np.maximum(self._inner[:, None] + change, FLOOR)
            self._delta = np.log(after / np.maximum(self._inner, FLOOR)[:, None])

    def _arrivals(self, p: int) -> tuple[Codes, Floats, Bools]:
        """Edges whose other end is known when p is decided: ends, prices `(m, V, K)`, which are inputs."""
        layout = self.layout
        if layout.family[p] != FAMILIES.index("precision"):
            empty = np.zeros((0, len(layout.words), layout.width))
            return np.zeros(0, dtype=np.intp), empty, np.zeros(0, dtype=bool)
        tables = self.surrogate.objective.edge_prices()
        others, prices, is_input = [], [], []
        for e, (source, target) in enumerate(layout.edges):
            for here, other, table in ((target, source, tables[e]), (source, target, tables[e].T)):
                if here == p and (other < p or other == layout.count):
                    others.append(other)
                    prices.append(table[:, layout.word[p]])
                    is_input.append(here == target)
        shape = (len(others), len(layout.words), layout.width)
        return (
            np.array(others, dtype=np.intp),
            np.array(prices).reshape(shape),
            np.array(is_input, dtype=bool),
        )

    def _measured_choices(self) -> tuple[Reals, Reals]:
        """`(P, K)` what the best trial chose, and the share of the elite that chose it."""
        eye = np.eye(self.layout.width, dtype=np.float32)
        elite = self.surrogate.elite(ELITE)
        if not len(elite):
            nothing = np.zeros((self.layout.count, self.layout.width), dtype=np.float32)
            return nothing, nothing
        return eye[elite[0]], eye[elite].mean(axis=0)


def _drops(surrogate: Surrogate) -> tuple[Floats, Floats]:
    if surrogate.accuracy is None:
        nothing = np.zeros(surrogate.layout.column.shape)
        return nothing, nothing
    return surrogate.accuracy.option_drops()
