"""Predicts one measured figure (a latency, a size, ...) of candidates, with its uncertainty.

    log figure = log(1 + options + boundaries) + runtime factors + residual      (default model: 0)

*options* and *boundaries* add up over the graph in units of the default model's figure; runtime settings
multiply. Boundaries price each edge whose ends chose different precisions, which is what makes random mixes
slower than either pure model. The residual is a smooth function of how many decisions differ: it keeps
predictions near a measured candidate close to its measurement, and uncertain far from all of them.

Its deviations are multiplied by how many times off the model is on the measured candidates themselves, each
predicted without it (`Posterior.surprise`).
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from edgeopt.core.saving import Savings
from edgeopt.search.bayes import Floats, Posterior, regress, subset
from edgeopt.search.context import RegionTimes
from edgeopt.search.layout import FAMILIES, Codes, Layout
from edgeopt.search.prior import Prior, build

FLOOR = 0.02
"""No candidate is predicted faster than this share of the default's graph time (keeps the log defined)."""
ROUNDS = 8
"""At most; it ends where no weight moves by more than `SETTLED` of its prior deviation."""
SETTLED = 1e-3
RESIDUAL_DEVIATION = (0.03, 0.1)
PRIOR_VARIANCE = (0.25, 1.0, 4.0)
NOISE_FACTOR = (1.0, 9.0)
DISTANCE = 0.25
"""Share of all decisions after which the residual is forgotten (to 1/e)."""


@dataclass(frozen=True, slots=True)
class _Settings:
    variance: float = 1.0
    noise: float = 1.0
    residual: float = RESIDUAL_DEVIATION[0] ** 2


@dataclass(frozen=True, slots=True)
class _Observations:
    """N measured candidates.

    Attributes:
        graph: `(N, D)` graph columns.
        chosen: `(N, C)` which options differ from the default.
        spread: `(N, W)` graph columns by weight.
        gram: `(N, N)` products of `spread`.
        runtime_gram: `(N, N)` the same of the runtime factors.
    """

    graph: Floats
    chosen: Floats
    spread: Floats
    gram: Floats
    runtime_gram: Floats
    targets: Floats
    noise: Floats


class FigureModel:
    """A log-figure relative to the default model's, fitted on all candidates whose figure is known."""

    def __init__(
        self,
        layout: Layout,
        figure: str,
        region_ms: RegionTimes | None = None,
        boundaries: bool = True,
        savings: Savings | None = None,
    ) -> None:
        self.layout = layout
        self.prior: Prior = build(layout, figure, region_ms or {}, boundaries, savings)
        words = len(layout.words)
        self._boundaries = boundaries
        self._pairs = words * words
        self._offset_deviation = 1.0
        self.reference = 0.0
        """Log of the default model's figure, in the figure's unit: what predictions are relative to."""
        self._posterior: Posterior | None = None
        self._settings = _Settings()
        self.calibration = 1.0
        """How many times larger errors are than the model alone would say."""
        self._codes_mask = np.zeros((0, layout.columns))
        self._set_weights(np.zeros(self.prior.spread.shape[1]), np.zeros(layout.columns + 1))

    def fit(self, codes: Codes, values: Floats, relative_error: Floats) -> None:
        """Learn from N measured candidates.

        Args:
            codes: `(N, P)`.
            values: `(N,)` positive figures.
            relative_error: `(N,)` standard deviation of each, as a fraction.
        """
        if not len(values):
            return
        is_default = (codes == self.layout.default).all(axis=1)
        logs = np.log(values)
        known_default = bool(is_default.any())
        self.reference = float(logs[is_default].mean() if known_default else logs.mean())
        self._offset_deviation = 0.02 if known_default else 1.0
        kept = subset(logs)
        graph, chosen = self._columns(codes[kept])
        self._codes_mask = chosen
        spread = np.asarray((self.prior.spread.T @ graph.T).T)
        factors = chosen * self.prior.runtime_spread
        seen = _Observations(
            graph,
            chosen,
            spread,
            spread @ spread.T,
            factors @ factors.T,
            logs[kept] - self.reference,
            np.maximum(relative_error[kept], 0.01) ** 2,
        )
        self._gauss_newton(seen)
        self._settings = self._most_likely(seen)
        self._posterior = self._gauss_newton(seen)
        self.calibration = self._posterior.surprise(~is_default[kept])

    def predict(self, codes: Codes) -> tuple[Floats, Floats]:
        """Mean and standard deviation of `log(figure / default's figure)`, each `(B,)`."""
        graph, chosen = self._columns(codes)
        rows, mean = self._linearised(graph, chosen)
        residual = self._settings.residual
        if self._posterior is None:
            prior = self._settings.variance * np.einsum("bd,bd->b", rows, rows)
            return mean, np.sqrt(prior + residual)
        kernel = self._kernel(chosen, self._codes_mask)
        deviation = self._posterior.deviation(rows, kernel, residual)
        return mean + kernel @ self._posterior.dual, self.calibration * deviation

    def differences(self, codes: Codes, base: Codes) -> tuple[Floats, Floats]:
        """How much larger the log figure of each of `codes` `(B, P)` is than that of `base` `(P,)`: mean and
        standard deviation, each `(B,)`. What both have in common is uncertain for both alike, and cancels."""
        graph, chosen = self._columns(np.concatenate([base[None], codes]))
        rows, mean = self._linearised(graph, chosen)
        rows, mean = rows[1:] - rows[0], mean[1:] - mean[0]
        residual = 2 * (self._settings.residual - self._kernel(chosen[1:], chosen[:1])[:, 0])
        if self._posterior is None:
            prior = self._settings.variance * np.einsum("bd,bd->b", rows, rows)
            return mean, np.sqrt(prior + residual)
        kernel = self._kernel(chosen, self._codes_mask)
        kernel = kernel[1:] - kernel[0]
        deviation = self._posterior.deviation(rows, kernel, residual)
        return mean + kernel @ self._posterior.dual, self.calibration * deviation

    def option_prices(self) -> tuple[Floats, Floats]:
        """`(P, K)` mean and spread of each option alone: graph options in units of the default's figure,
        runtime options as log factors."""
        columns = self.layout.columns
        runtime = np.repeat(self._is_runtime()[:, None], self.layout.width, axis=1)
        mean, spread = np.zeros(self.layout.column.shape), np.zeros(self.layout.column.shape)
        known = self.layout.column >= 0
        column = self.layout.column[known]
        deviation = self._column_deviation()
        mean[known] = np.where(runtime[known], self._runtime[column], self._graph[:columns][column])
        spread[known] = deviation[column]
        return mean, spread

    def edge_prices(self) -> Floats:
        """`(E, V, V)` cost of each edge by the words at its ends, 0 where they agree."""
        words = len(self.layout.words)
        edges = self._graph[self.layout.columns : self.layout.columns + len(self.layout.edges)]
        pairs = self._graph[self.layout.columns + len(self.layout.edges) :].reshape(words, words)
        prices = edges[:, None, None] + self.prior.edge_scale[:, None, None] * pairs
        return np.asarray(prices * (1 - np.eye(words)) * self._boundaries)

    def _set_weights(self, weights: Floats, runtime: Floats) -> None:
        self._weights, self._runtime_weights = weights, runtime
        self._graph = self.prior.mean + self.prior.spread @ weights
        self._runtime = self.prior.runtime_mean + self.prior.runtime_spread * runtime[:-1]

    def _is_runtime(self) -> NDArray[np.bool_]:
        return np.asarray(self.layout.family == FAMILIES.index("runtime"))

    def _columns(self, codes: Codes) -> tuple[Floats, Floats]:
        """`(B, D)` graph columns and `(B, C)` which options differ from the default."""
        layout, count = self.layout, len(codes)
        chosen = np.zeros((count, layout.columns + 1))
        chosen[np.arange(count)[:, None], layout.column[np.arange(layout.count), codes]] = 1.0
        chosen = chosen[:, :-1]  # the last column collected the defaults (-1)
        spoken = layout.spoken(codes)
        ends = spoken[:, layout.edges]  # (B, E, 2)
        differs = (ends[..., 0] != ends[..., 1]) * float(self._boundaries)
        pair = ends[..., 0] * len(layout.words) + ends[..., 1] + self._pairs * np.arange(count)[:, None]
        scaled = differs * self.prior.edge_scale
        totals = np.bincount(pair.ravel(), weights=scaled.ravel(), minlength=count * self._pairs)
        return np.hstack([chosen, differs, totals.reshape(count, self._pairs)]), chosen

    def _linearised(
        self, graph: Floats, chosen: Floats, spread: Floats | None = None
    ) -> tuple[Floats, Floats]:
        """Gradient `(B, W)` by the unit-normal weights, and the mean without residual `(B,)`."""
        inner = np.maximum(1.0 + graph @ self._graph, FLOOR)
        if spread is None:
            spread = np.asarray((self.prior.spread.T @ graph.T).T)
        offset = np.full((len(graph), 1), self._offset_deviation)
        rows = np.hstack([spread / inner[:, None], chosen * self.prior.runtime_spread, offset])
        mean = np.log(inner) + chosen @ self._runtime + offset[:, 0] * self._runtime_weights[-1]
        return rows, mean

    def _kernel(self, a: Floats, b: Floats) -> Floats:
        overlap = a @ b.T
        apart = np.maximum(a.sum(1)[:, None] + b.sum(1)[None, :] - 2 * overlap, 0.0)
        return np.asarray(self._settings.residual * np.exp(-apart / max(DISTANCE * self.layout.count, 1.0)))

    def _gauss_newton(self, seen: _Observations) -> Posterior:
        kernel, settings = self._kernel(seen.chosen, seen.chosen), self._settings
        for _ in range(ROUNDS):
            rows, mean = self._linearised(seen.graph, seen.chosen, seen.spread)
            now = np.concatenate([self._weights, self._runtime_weights])
            targets = seen.targets - mean + rows @ now
            noise = seen.noise * settings.noise
            posterior = regress(rows, targets, noise, kernel, settings.variance, self._gram(seen))
            step = posterior.weights - now
            # A full step from far away can overshoot where 1 / inner is steep.
            step *= min(1.0, 3.0 / max(float(np.abs(step).max()), 1e-9))
            split = len(self._weights)
            self._set_weights((now + step)[:split], (now + step)[split:])
            if np.abs(step).max() < SETTLED:
                break
        return posterior

    def _gram(self, seen: _Observations) -> Floats:
        """`(N, N)` products of the gradients: of their parts only the factors change from round to round."""
        inner = np.maximum(1.0 + seen.graph @ self._graph, FLOOR)
        gram: Floats = seen.gram / np.outer(inner, inner) + seen.runtime_gram
        return gram + self._offset_deviation**2

    def _most_likely(self, seen: _Observations) -> _Settings:
        rows, mean = self._linearised(seen.graph, seen.chosen, seen.spread)
        linear = seen.targets - mean + rows @ np.concatenate([self._weights, self._runtime_weights])
        gram, kernel = self._gram(seen), self._kernel(seen.chosen, seen.chosen) / self._settings.residual
        grid = [
            _Settings(variance, factor, deviation**2)
            for variance in PRIOR_VARIANCE
            for factor in NOISE_FACTOR
            for deviation in RESIDUAL_DEVIATION
        ]

        def evidence(s: _Settings) -> float:
            noise = seen.noise * s.noise
            return regress(rows, linear, noise, kernel * s.residual, s.variance, gram).evidence

        return max(grid, key=evidence)

    def _column_deviation(self) -> Floats:
        """`(C,)` posterior deviation of each option's own coefficient."""
        weights = self.prior.spread.shape[1]
        if self._posterior is None:
            unit = np.ones(weights + self.layout.columns + 1)
        else:
            unit = self._posterior.weight_deviation() ** 2
        options = self.prior.spread[: self.layout.columns]
        graph = options.multiply(options) @ unit[:weights]
        runtime = self.prior.runtime_spread**2 * unit[weights:-1]
        return np.sqrt(np.asarray(graph).ravel() + runtime)
