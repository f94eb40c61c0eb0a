"""Which candidate to measure next: expected improvement on the best, times the chance to be feasible."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from scipy.special import ndtr

from edgeopt.search.layout import Codes
from edgeopt.search.surrogate import Surrogate, known_mask

Floats = NDArray[np.float64]


def merit(surrogate: Surrogate, codes: Codes) -> Floats:
    """`(B,)` expected improvement of the log figure over the best feasible trial, constraints included.

    Before anything feasible was measured, what is likely feasible comes first.

    Source: Gardner et al., Bayesian Optimization with Inequality Constraints, 2014, equation 6.
    """
    mean, deviation = surrogate.predict(codes)
    best = surrogate.incumbent()
    feasible = surrogate.feasibility(codes)
    if best is None:
        return feasible * np.exp(-mean)
    z = (best[1] - mean) / deviation
    density = np.exp(-0.5 * z**2) / np.sqrt(2 * np.pi)
    return np.asarray(deviation * (z * ndtr(z) + density) * feasible)


def daring(surrogate: Surrogate, codes: Codes, rng: np.random.Generator) -> Floats:
    """`(B,)` merit for exploring: one draw from each candidate's own prediction, times its feasibility."""
    mean, deviation = surrogate.predict(codes)
    return np.exp(-(mean + deviation * rng.standard_normal(len(codes)))) * surrogate.feasibility(codes)


def fresh(codes: Codes, tried: Codes) -> Codes:
    """Rows of `codes` that were not tried, each once, in order of first appearance."""
    _, first = np.unique(codes, axis=0, return_index=True)
    unique = codes[np.sort(first)]
    return unique[~known_mask(unique, tried)]
