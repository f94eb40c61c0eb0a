"""What a map would be on a coarser grid: the mean of it over each new element's share of the old ones."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from edgeopt.graph.structure._weights import Doubles


def resampled(values: Doubles, shape: Sequence[int]) -> Doubles:
    """Values of the same extent on another grid; along an axis of the same size they stay as they are.

    Where sizes divide, this is what AveragePool computes.
    """
    for axis, (have, want) in enumerate(zip(values.shape, shape, strict=True)):
        if have != want:
            values = np.moveaxis(np.tensordot(_overlap(have, want), values, axes=(1, axis)), 0, axis)
    return values


def _overlap(have: int, want: int) -> Doubles:
    """(want, have): which share of each new element lies in each old one."""
    edges = np.arange(want + 1) * (have / want)
    low = np.maximum(edges[:-1, None], np.arange(have))
    high = np.minimum(edges[1:, None], np.arange(have) + 1)
    found: Doubles = np.maximum(high - low, 0.0) * (want / have)
    return found
