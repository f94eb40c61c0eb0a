"""Which part of a tensor's values int8 shall cover: four methods, all computed from one histogram.

All methods keep zero inside and never go beyond the smallest and largest value seen. What is clipped are
outliers: where a method would clip more values than `percentile` calls rare, it must not lose more by it than
rounding the whole range does, or the extremes are kept. Divergence counts values and not what they weigh: of
attention probabilities it would keep the many small ones and clip those that carry the result.
"""

from __future__ import annotations

import numpy as np

from edgeopt.graph.histogram import Floats, Histogram

METHODS = ("minmax", "percentile", "entropy", "mse")
"""The first is what a model is calibrated with unless another is chosen."""

KEPT_SHARE = 0.9999
"""Of the values, in the middle: what `percentile` covers."""

LEVELS = 255
_SHARES = 2.0 ** (-np.arange(81) / 16)
"""Of the range from zero to an end that are tried: 1, 0.96, 0.92, ... 1/32."""
_BINS_PER_LEVEL = 32
"""Of the whole range; a smaller range has fewer, so that the values are always compared equally finely."""


def clipped(method: str, histogram: Histogram, low: float, high: float) -> tuple[float, float]:
    """The range to quantize.

    Args:
        method: One of `METHODS`.
        histogram: Of values in [low, high].

    Raises:
        ValueError: No such method.
    """
    low, high = min(low, 0.0), max(high, 0.0)
    if method == "minmax" or low == high:
        return low, high
    if method not in METHODS:
        raise ValueError(f"unknown range method {method!r}")
    lower, upper, counts = histogram.intervals()
    if not counts.sum():
        return low, high
    lower, upper = np.clip(lower, low, high), np.clip(upper, low, high)
    choose = {"percentile": _percentile, "entropy": _entropy, "mse": _mse}[method]
    first, last = choose(lower, upper, counts, low, high)
    clips = counts[(lower < first) | (upper > last)].sum() / counts.sum()
    if clips > 1 - KEPT_SHARE:
        chosen, whole = (_error(lower, upper, counts, *ends) for ends in ((first, last), (low, high)))
        if chosen > whole:
            return low, high
    return first, last


def _error(lower: Floats, upper: Floats, counts: Floats, low: float, high: float) -> float:
    """Sum of squared errors of rounding (step^2 / 12, none at zero) and of clipping to [low, high]."""
    values = (lower + upper) / 2
    clipping = np.square(values - np.clip(values, low, high))
    step = (high - low) / LEVELS
    return float((counts * clipping).sum() + counts[values != 0].sum() * step**2 / 12)


def _percentile(lower: Floats, upper: Floats, counts: Floats, low: float, high: float) -> tuple[float, float]:
    """The middle `KEPT_SHARE` of the values."""
    tail = (1 - KEPT_SHARE) / 2
    position = np.cumsum(counts) / counts.sum()
    first = int(np.searchsorted(position, tail, side="right"))
    last = int(np.searchsorted(position, 1 - tail, side="left"))
    last = min(last, len(counts) - 1)
    return max(low, min(float(lower[first]), 0.0)), min(high, max(float(upper[last]), 0.0))


def _mse(lower: Floats, upper: Floats, counts: Floats, low: float, high: float) -> tuple[float, float]:
    """Least mean squared error: rounding (step^2 / 12, none at zero) plus clipping, on a grid of both ends.

    Source: Banner et al. 2018 (arXiv:1810.05723), section 3, with the measured distribution.
    """
    values = (lower + upper) / 2
    lows, highs = np.unique(low * _SHARES), np.unique(high * _SHARES)
    under = np.array([(counts * np.square(np.minimum(values - end, 0))).sum() for end in lows])
    over = np.array([(counts * np.square(np.maximum(values - end, 0))).sum() for end in highs])
    rounded = float(counts[values != 0].sum())
    step = (highs[None, :] - lows[:, None]) / LEVELS
    error = under[:, None] + over[None, :] + rounded * np.square(step) / 12
    i, j = np.unravel_index(int(error.argmin()), error.shape)
    return float(lows[i]), float(highs[j])


def _entropy(lower: Floats, upper: Floats, counts: Floats, low: float, high: float) -> tuple[float, float]:
    """Least Kullback-Leibler divergence between the clipped values and their quantized form.

    Source: S. Migacz, "8-bit inference with TensorRT", GTC 2017; the threshold is one of
    magnitude, as there.
    """
    edges = np.concatenate([lower[:1], upper])
    cumulated = np.concatenate([[0.0], np.cumsum(counts)])
    edges, index = np.unique(edges, return_index=True)
    # Of equal edges (zero has no width) the last knows all counts up to it.
    index = np.append(index[1:], len(cumulated)) - 1
    cumulated = cumulated[index]
    total = counts.sum()
    best, least = (low, high), np.inf
    for share in _SHARES[::4]:
        limit = share * max(-low, high)
        first, last = max(low, -limit), min(high, limit)
        width = max(1, round(_BINS_PER_LEVEL * (last - first) / (high - low)))
        grid = np.linspace(first, last, LEVELS * width + 1)
        below = np.interp(grid, edges, cumulated, left=0.0, right=total)
        inside = np.diff(below)
        reference = inside.copy()
        reference[0] += below[0]
        reference[-1] += total - below[-1]
        groups = inside.reshape(LEVELS, width)
        occupied = reference.reshape(groups.shape) > 0
        spread = groups.sum(axis=1) / np.maximum(occupied.sum(axis=1), 1)
        quantized = np.where(occupied, spread[:, None], 0.0).reshape(-1)
        divergence = _divergence(reference, quantized)
        if divergence < least:
            least, best = divergence, (float(first), float(last))
    return best


def _divergence(reference: Floats, quantized: Floats) -> float:
    if not quantized.sum():
        return float("inf")
    p, q = reference / reference.sum(), quantized / quantized.sum()
    some = p > 0
    return float((p[some] * np.log(p[some] / np.maximum(q[some], 1e-12))).sum())
