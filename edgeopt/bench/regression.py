"""A Gaussian process over whole candidates: what a replay answers where nothing was recorded.

It knows nothing of the samplers' surrogate (no sum over regions and edges in the logarithm's argument): it
compares candidates as wholes, by shares of the work under each precision, by how much data crosses from one
precision to another, and by how many decisions differ; how far each of these reaches is fitted by marginal
likelihood. Its quality is what it says of candidates that it was not shown (`held_out`).

Source: Rasmussen and Williams, Gaussian Processes for Machine Learning, 2006, sections 2.2 and 5.4.1; Zela et
al., Surrogate NAS Benchmarks, 2022 (a fitted benchmark is judged by its held-out rank correlation).
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np
from scipy.linalg import cho_factor, cho_solve

from edgeopt.search.bayes import Floats
from edgeopt.search.layout import FAMILIES, Codes, Layout

FOLDS = 10
LEAST_NOISE = 1e-6
SMOOTH = 0.1
"""Squared distance of two wholes (shares of work and of data) at which they have little in common."""
NEAR = 0.2
"""Share of all decisions that may differ before single decisions say nothing; `reach` multiplies it."""
START = np.log([1.0, 1.0, 1.0, 1.0, 0.3, 0.01])
BOUNDS = [(-5.0, 5.0)] * 5 + [(np.log(1e-3), np.log(0.5))]


@dataclass(frozen=True, slots=True)
class HeldOut:
    """How well left-out candidates are predicted, by cross-validation in `FOLDS` parts.

    Attributes:
        spearman: Rank correlation; None where all are alike.
        median_error: Median of |predicted - recorded|, in the units of the target.
        n: Candidates.
    """

    spearman: float | None
    median_error: float
    n: int


class Regression:
    """Predicts a target of candidates from N recorded ones.

    Args:
        codes: `(N, P)`.
        targets: `(N,)`.
    """

    def __init__(self, layout: Layout, codes: Codes, targets: Floats) -> None:
        self._layout, self._codes, self._targets = layout, codes, np.asarray(targets, dtype=np.float64)
        self._mean = float(np.mean(targets)) if len(targets) else 0.0
        self._spread = float(np.std(targets)) or 1.0
        self._scaled = (self._targets - self._mean) / self._spread
        self._graph = layout.family != FAMILIES.index("runtime")
        self._features = self._whole(codes)
        self._apart = self._distances(self._features, codes, self._features, codes)
        self._settings = self._most_likely()
        self._dual = self._solved(np.arange(len(codes)))

    def predict(self, codes: Codes) -> Floats:
        """`(B,)` of candidates `(B, P)`."""
        cross = self._kernel(
            self._settings, self._distances(self._whole(codes), codes, self._features, self._codes)
        )
        return np.asarray(self._mean + self._spread * (cross @ self._dual))

    @cached_property
    def held_out(self) -> HeldOut:
        """Settings are those of all; weights are of the parts that were shown."""
        from scipy.stats import spearmanr

        count = len(self._codes)
        part = np.random.default_rng(0).permutation(count) % FOLDS
        predicted = np.zeros(count)
        kernel = self._kernel(self._settings, self._apart)
        for fold in range(FOLDS):
            hidden, shown = np.flatnonzero(part == fold), np.flatnonzero(part != fold)
            if len(hidden) and len(shown):
                predicted[hidden] = kernel[np.ix_(hidden, shown)] @ self._solved(shown)
        error = float(np.median(np.abs(predicted - self._scaled))) * self._spread if count else float("nan")
        alike = count < 3 or np.ptp(self._scaled) == 0 or np.ptp(predicted) == 0
        return HeldOut(None if alike else float(spearmanr(predicted, self._scaled).statistic), error, count)

    def _whole(self, codes: Codes) -> Floats:
        """`(B, F)` shares of work under each word, of data between each pair of words, and of each choice."""
        layout, words = self._layout, len(self._layout.words)
        spoken = layout.spoken(codes)
        flops = np.array([r.flops for r in layout.space.regions], dtype=np.float64)
        work = np.zeros(layout.count + 1)
        has_region = np.flatnonzero(layout.region >= 0)
        work[has_region] = flops[layout.region[has_region]] + 1.0
        work[:-1][layout.family != FAMILIES.index("precision")] = 0.0
        work /= work.sum() or 1.0
        shares = np.stack([(spoken == w) @ work for w in range(1, words)], axis=1) if words > 1 else None
        crossing = [np.zeros((len(codes), 0))] if shares is None else [shares]
        if len(layout.edges):
            data = layout.edge_bytes / (layout.edge_bytes.sum() or 1.0)
            calls = np.full(len(data), 1.0 / len(data))
            ends = spoken[:, layout.edges]
            for a in range(words):
                for b in range(words):
                    if a != b:
                        cross = (ends[..., 0] == a) & (ends[..., 1] == b)
                        crossing.append(np.stack([cross @ data, cross @ calls], axis=1))
        return np.hstack(crossing)

    def _distances(self, a: Floats, a_codes: Codes, b: Floats, b_codes: Codes) -> tuple[Floats, ...]:
        """Four of `(A, B)`: product and squared distance of wholes, how many decisions differ."""
        apart = np.maximum((a**2).sum(1)[:, None] + (b**2).sum(1)[None, :] - 2 * a @ b.T, 0.0)
        differs = a_codes[:, None, :] != b_codes[None, :, :]
        graph = differs[..., self._graph].sum(2) / max(int(self._graph.sum()), 1)
        return a @ b.T, apart, graph, differs[..., ~self._graph].sum(2)

    def _kernel(self, settings: Floats, distances: tuple[Floats, ...]) -> Floats:
        """`(A, B)`: linear and smooth in the whole, plus what single decisions tell; runtime multiplies."""
        linear, smooth, local, reach, runtime, _ = np.exp(settings)
        product, apart, graph, other = distances
        whole = linear * (1 + product) + smooth * np.exp(-apart / SMOOTH)
        return np.asarray((whole + local * np.exp(-graph / (reach * NEAR))) * np.exp(-runtime * other))

    def _solved(self, shown: Codes) -> Floats:
        kernel = self._kernel(self._settings, tuple(d[np.ix_(shown, shown)] for d in self._apart))
        noise = float(np.exp(self._settings[-1])) ** 2 + LEAST_NOISE
        factor = cho_factor(kernel + noise * np.eye(len(shown)), lower=True)
        return np.asarray(cho_solve(factor, self._scaled[shown]))

    def _most_likely(self) -> Floats:
        from scipy.optimize import minimize

        if len(self._codes) < 3:
            return START
        found = minimize(self._unlikeliness, START, method="L-BFGS-B", bounds=BOUNDS, options={"maxiter": 40})
        return np.asarray(found.x)

    def _unlikeliness(self, settings: Floats) -> float:
        kernel = self._kernel(settings, self._apart)
        noise = float(np.exp(settings[-1])) ** 2 + LEAST_NOISE
        lower, _ = cho_factor(kernel + noise * np.eye(len(self._codes)), lower=True)
        fit = self._scaled @ cho_solve((lower, True), self._scaled)
        return 0.5 * float(fit) + float(np.log(np.diag(lower)).sum())
