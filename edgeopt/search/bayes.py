"""Bayesian linear regression with an informative prior, for far fewer observations than features."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.linalg import cho_solve, cholesky, solve_triangular

Floats = NDArray[np.float64]

OBSERVATIONS = 384
"""Most observations that a fit is conditioned on: its cost is cubic in them, and a model with a few
thousand weights that are mostly shared learns next to nothing from more."""
PSEUDO, EXPECTED = 6.0, 1.7
"""With the weight of the first number of observations, squared errors are believed to be the second number
of times what the model says: as seen on simulated boards (`benchmarks/surrogate_accuracy.py`)."""


def subset(scores: Floats) -> NDArray[np.intp]:
    """Which of N observations a fit is conditioned on: all, or `OBSERVATIONS` of them, oldest first.

    Args:
        scores: `(N,)` small is what matters most: a third of those kept are the smallest, a third the
            newest, the others are spread evenly over all (the first is always among them).
    """
    count = len(scores)
    if count <= OBSERVATIONS:
        return np.arange(count)
    third = OBSERVATIONS // 3
    best = np.argsort(scores, kind="stable")[:third]
    kept = np.union1d(best, np.arange(count - third, count))
    others = np.setdiff1d(np.arange(count), kept)
    spread = np.linspace(0, len(others) - 1, OBSERVATIONS - len(kept)).astype(np.intp)
    return np.unique(np.concatenate([[0], kept, others[spread]])).astype(np.intp)


@dataclass(frozen=True, slots=True)
class Posterior:
    """What N observations say of D weights whose prior is `N(0, variance)`, plus a smooth residual.

    Attributes:
        weights: `(D,)` posterior mean.
        dual: `(N,)` the observations' pull: mean of the residual is `kernel(x, X) @ dual`.
        rows: `(N, D)` features of the observations.
        lower: `(N, N)` Cholesky factor of the observations' covariance.
        variance: Prior variance of each weight.
        evidence: Log marginal likelihood.
    """

    weights: Floats
    dual: Floats
    rows: Floats
    lower: Floats
    variance: float
    evidence: float

    def deviation(self, rows: Floats, kernel: Floats, residual: float | Floats) -> Floats:
        """`(B,)` posterior standard deviation at `rows` `(B, D)`, noise not included.

        Args:
            kernel: `(B, N)` residual covariance with the observations.
            residual: Prior variance of the residual; one, or `(B,)`.
        """
        prior = self.variance * np.einsum("bd,bd->b", rows, rows) + residual
        shared = self.variance * rows @ self.rows.T + kernel
        known = solve_triangular(self.lower, shared.T, lower=True, check_finite=False)
        return np.asarray(np.sqrt(np.maximum(prior - np.einsum("nb,nb->b", known, known), 1e-12)))

    def surprise(self, told: NDArray[np.bool_]) -> float:
        """How many times its own standard deviations the model is off, leaving one observation out at a time.

        The root mean square of the standardised residuals, drawn towards what is `EXPECTED`.

        Args:
            told: `(N,)` observations that count: not those that are right by definition.

        Source: Rasmussen and Williams, Gaussian Processes for Machine Learning, equations 5.10 to 5.12.
        """
        inverse = solve_triangular(self.lower, np.eye(len(self.lower)), lower=True, check_finite=False)
        standardised = self.dual[told] ** 2 / (inverse**2).sum(axis=0)[told]
        return float(np.sqrt((PSEUDO * EXPECTED + standardised.sum()) / (PSEUDO + told.sum())))

    def weight_deviation(self) -> Floats:
        """`(D,)` posterior standard deviation of each weight alone."""
        known = solve_triangular(self.lower, self.variance * self.rows, lower=True, check_finite=False)
        return np.asarray(np.sqrt(np.maximum(self.variance - np.einsum("nd,nd->d", known, known), 1e-12)))


def regress(
    rows: Floats,
    targets: Floats,
    noise: Floats,
    kernel: Floats,
    variance: float,
    gram: Floats | None = None,
) -> Posterior:
    """Condition the prior on observations; works in the N dimensions of the observations.

    Args:
        rows: `(N, D)` features, already divided by what makes their weights' prior a unit normal.
        targets: `(N,)` observed, less the prior mean.
        noise: `(N,)` variance of each observation.
        kernel: `(N, N)` residual covariance.
        variance: Prior variance of the weights.
        gram: `(N, N)` `rows @ rows.T`, where it is known already.

    Source: Rasmussen and Williams, Gaussian Processes for Machine Learning, sections 2.1 and 2.7.
    """
    gram = rows @ rows.T if gram is None else gram
    covariance = variance * gram + kernel + np.diag(noise)
    lower = cholesky(covariance, lower=True, check_finite=False)
    dual = cho_solve((lower, True), targets, check_finite=False)
    evidence = -0.5 * float(targets @ dual) - float(np.log(np.diag(lower)).sum())
    return Posterior(variance * rows.T @ dual, dual, rows, lower, variance, evidence)
