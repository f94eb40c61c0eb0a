"""Integers whose error hardly shows in a layer's output, column by column.

Source: Frantar et al. 2022 (arXiv:2210.17323), section 3.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from edgeopt.graph.precision._arithmetic import Floats

DAMPING = 0.01
"""Of the mean variance of the inputs, added to each: what few rows tell of a direction is little."""

_FEW_GROUPS = 4
"""So many are rounded one after the other, more of them at once."""

_COLUMNS = 128
"""After so many, their errors reach the columns far behind in one product."""


def least_squares(
    exact: NDArray[np.float64],
    nearest: NDArray[np.float64],
    scale: NDArray[np.float64],
    second: NDArray[np.float64],
    most: int,
) -> NDArray[np.float64]:
    """Integers q for which (s q - w) H (s q - w)' is small, for each row w of `exact`; see `_rounding`.

    Args:
        exact: (g, m, n) weights.
        nearest: (g, m, n), what they are if rounded one by one.
        scale: (g, m, 1).
        second: H, (g, n, n): moments of the inputs, positive semidefinite.
        most: Integers are in [-most, most].
    """
    upper = _upper(second)
    if len(exact) <= _FEW_GROUPS:
        groups = zip(exact, scale, upper, strict=True)
        levels = np.stack([_one_group(*of_group, most) for of_group in groups])
    else:
        levels = _all_groups(exact, scale, upper, most)
    single = second.astype(np.float32)
    better = _cost(levels * scale - exact, single) < _cost(nearest * scale - exact, single)
    return np.where(better[:, :, None], levels, nearest)


def _upper(second: NDArray[np.float64]) -> NDArray[np.float64]:
    """(g, n, n): U, upper triangular, with U'U the inverse of H and its damping.

    With J, which reverses the order, and L the Cholesky factor of J H J: U is J L^-1 J. That costs a third of
    inverting H first.
    """
    n = second.shape[-1]
    damping = DAMPING * np.einsum("gii->gi", second).mean(axis=1)
    damping = np.where(damping > 0, damping, 1.0)
    damped = second + damping[:, None, None] * np.eye(n)
    lower = np.linalg.cholesky(damped[:, ::-1, ::-1])
    if len(lower) <= _FEW_GROUPS:
        inverse = np.stack([_inverse_of_lower(one) for one in lower])
    else:
        inverse = np.linalg.inv(lower)
    return inverse[:, ::-1, ::-1]


def _inverse_of_lower(one: NDArray[np.float64]) -> NDArray[np.float64]:
    from scipy.linalg.lapack import dtrtri  # a twentieth of a second to import

    inverse: NDArray[np.float64]
    inverse, _ = dtrtri(one, lower=1)
    return inverse


def _one_group(
    exact: NDArray[np.float64], scale: NDArray[np.float64], upper: NDArray[np.float64], most: int
) -> NDArray[np.float64]:
    """(m, n) integers. Columns lie behind each other in memory: one step reaches all that are not rounded."""
    n, steps = exact.shape[-1], scale[:, 0].astype(np.float32)
    left = np.ascontiguousarray(exact.T, dtype=np.float32)
    factors = np.ascontiguousarray(upper, dtype=np.float32)
    levels = np.empty_like(left)
    for start in range(0, n, _COLUMNS):
        stop = min(start + _COLUMNS, n)
        errors = np.empty((stop - start, len(steps)), np.float32)
        for j in range(start, stop):
            levels[j] = np.clip(np.rint(left[j] / steps), -most, most)
            errors[j - start] = (left[j] - levels[j] * steps) / factors[j, j]
            left[j + 1 : stop] -= factors[j, j + 1 : stop, None] * errors[j - start]
        left[stop:] -= factors[start:stop, stop:].T @ errors
    return levels.T.astype(np.float64)


def _all_groups(
    exact: NDArray[np.float64], scale: NDArray[np.float64], upper: NDArray[np.float64], most: int
) -> NDArray[np.float64]:
    """(g, m, n) integers of many groups of few columns, as of depthwise convolutions, at once."""
    left, levels = exact.copy(), np.empty_like(exact)
    for j in range(exact.shape[-1]):
        levels[:, :, j] = np.clip(np.rint(left[:, :, j] / scale[:, :, 0]), -most, most)
        error = (left[:, :, j] - levels[:, :, j] * scale[:, :, 0]) / upper[:, j, j, None]
        left[:, :, j + 1 :] -= error[:, :, None] * upper[:, j, None, j + 1 :]
    return levels


def _cost(error: NDArray[np.float64], second: Floats) -> Floats:
    single = error.astype(np.float32)
    cost: Floats = ((single @ second) * single).sum(axis=2)
    return cost
