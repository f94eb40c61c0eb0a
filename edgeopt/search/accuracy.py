"""Predicts how much accuracy a candidate loses: a sum of non-negative losses, one per lossy decision."""

from __future__ import annotations

from collections.abc import Hashable

import numpy as np
from scipy.sparse import csr_array

from edgeopt.core.space import DecisionPoint
from edgeopt.search.bayes import Floats, Posterior, regress, subset
from edgeopt.search.context import RegionNoise
from edgeopt.search.layout import Codes, Layout

LOSSY = frozenset({"precision", "structure", "quantization"})
"""Rewrites are proven exact and runtime settings do not touch the result."""
PRIOR_VARIANCE = (1.0, 16.0, 256.0)
"""A recipe that fits loses about what is allowed; one that does not can lose everything."""
TYPICAL = 0.3
"""Share of the allowed drop that an option taken everywhere is expected to cost."""
TYPICAL_NOISE = 0.01
"""Noise of all regions together of which the same is expected: -20 dB; int8 of 30 regions is about there."""
MOST = 30.0
"""Times what is allowed: one region that loses more is out of the question anyway."""


class AccuracyModel:
    """Drop of the metric (absolute), additive over regions; repeated blocks share what is learned.

    Where the noise that an option adds in a region is known, its expected loss is proportional to it, and how
    many times is learned; elsewhere all regions are expected to lose alike.
    """

    def __init__(self, layout: Layout, allowed: float, noise: RegionNoise | None = None) -> None:
        self.layout, self._noise = layout, noise or {}
        self._allowed, self._scale = allowed, max(allowed, 1e-3)
        self._lossy = np.array(
            [layout.space.points[p].family in LOSSY for p in range(layout.count)], dtype=bool
        )
        count = max(int(self._lossy.sum()), 1)
        self._mean = np.zeros(layout.columns)
        self._spread = self._build(count)
        self._coefficients = self._mean
        self._posterior: Posterior | None = None

    def fit(self, codes: Codes, drops: Floats, samples: Floats) -> None:
        """Learn from N candidates whose drop is known, feasible or not.

        Args:
            codes: `(N, P)`.
            drops: `(N,)` absolute.
            samples: `(N,)` how many samples each drop was counted on.
        """
        if not len(drops):
            return
        kept = subset(np.abs(drops - self._allowed))  # what is near the limit tells most about it
        codes, drops, samples = codes[kept], drops[kept], samples[kept]
        chosen = self._chosen(codes)
        rows = np.asarray((self._spread.T @ chosen.T).T)
        counted = np.maximum(samples, 1.0)
        noise = np.maximum(np.abs(drops), 1 / counted) / counted + (0.05 * self._scale) ** 2
        nothing = np.zeros((len(drops), len(drops)))
        targets = drops - chosen @ self._mean
        gram = rows @ rows.T
        fits = (regress(rows, targets, noise, nothing, variance, gram) for variance in PRIOR_VARIANCE)
        self._posterior = max(fits, key=lambda fit: fit.evidence)
        self._coefficients = np.maximum(self._mean + self._spread @ self._posterior.weights, 0.0)

    def predict(self, codes: Codes) -> tuple[Floats, Floats]:
        """Mean and standard deviation of the drop, each `(B,)`."""
        chosen = self._chosen(codes)
        rows = np.asarray((self._spread.T @ chosen.T).T)
        mean = chosen @ self._coefficients
        if self._posterior is None:
            return mean, np.sqrt(np.einsum("bd,bd->b", rows, rows) + 1e-18)
        return mean, self._posterior.deviation(rows, np.zeros((len(codes), len(self._posterior.dual))), 0.0)

    def differences(self, codes: Codes, base: Codes) -> tuple[Floats, Floats]:
        """How much more each of `codes` `(B, P)` loses than `base` `(P,)`: mean and standard deviation."""
        chosen = self._chosen(codes) - self._chosen(base[None])
        rows = np.asarray((self._spread.T @ chosen.T).T)
        mean = chosen @ self._coefficients
        if self._posterior is None:
            return mean, np.sqrt(np.einsum("bd,bd->b", rows, rows))
        return mean, self._posterior.deviation(rows, np.zeros((len(codes), len(self._posterior.dual))), 0.0)

    def option_drops(self) -> tuple[Floats, Floats]:
        """`(P, K)` mean and standard deviation of each option's own loss."""
        mean, spread = np.zeros(self.layout.column.shape), np.zeros(self.layout.column.shape)
        known = self.layout.column >= 0
        posterior = self._posterior
        unit = np.ones(self._spread.shape[1]) if posterior is None else posterior.weight_deviation() ** 2
        deviation = np.sqrt(np.asarray(self._spread.multiply(self._spread) @ unit).ravel())
        mean[known] = self._coefficients[self.layout.column[known]]
        spread[known] = deviation[self.layout.column[known]]
        return mean, spread

    def _chosen(self, codes: Codes) -> Floats:
        chosen = np.zeros((len(codes), self.layout.columns + 1))
        columns = np.where(self._lossy, self.layout.column[np.arange(self.layout.count), codes], -1)
        chosen[np.arange(len(codes))[:, None], columns] = 1.0
        return chosen[:, :-1]

    def _expected(self, point: DecisionPoint, option: str) -> float | None:
        """What an option is expected to lose, as a share of what is allowed; None where nothing is known."""
        noise = self._noise.get(option, {}).get(point.region or "")
        return None if noise is None else min(MOST, TYPICAL * noise / TYPICAL_NOISE)

    def _build(self, count: int) -> csr_array:
        weights: dict[Hashable, int] = {}
        entries: list[tuple[int, int, float]] = []

        def add(column: int, key: Hashable, deviation: float) -> None:
            entries.append((column, weights.setdefault(key, len(weights)), deviation * self._scale))

        for p in np.flatnonzero(self._lossy):
            point = self.layout.space.points[p]
            for k, option in enumerate(point.options):
                column = int(self.layout.column[p, k])
                if column < 0:
                    continue
                share = self._expected(point, option)
                self._mean[column] = (TYPICAL / count if share is None else share) * self._scale
                add(column, (point.family, point.name, option), 1.0 / count)
                add(column, (int(self.layout.group[p]), k), 1.0 / count)
                # One sensitive layer may lose as much as all others together, unless its noise is known.
                alone = 1.0 / np.sqrt(count)
                add(column, column, alone if share is None else min(alone, share + TYPICAL / count))
                if share is not None:
                    add(column, "noise", share)
        rows, columns, values = zip(*entries, strict=True) if entries else ((), (), ())
        return csr_array((values, (rows, columns)), shape=(self.layout.columns, max(len(weights), 1)))
