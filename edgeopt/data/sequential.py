"""How many samples are enough on a slow board: a test that looks a few times, and may end at each look."""

from __future__ import annotations

import numpy as np

from edgeopt.data.fit import Array

FIRST_LOOK = 256
EARLY_SHARE = 0.1
"""Of the error rate, what all looks but the last may spend together: the last loses next to nothing."""


def looks(n: int, seed: int) -> list[Array]:
    """Which samples are new at each look, `(k,)` ascending: 256 at first, as many again each time, then all.

    They are drawn at random, because data are often sorted by class.
    """
    order = np.random.default_rng(seed).permutation(n)
    ends = []
    end = FIRST_LOOK
    while 2 * end <= n:  # a last look that is hardly larger than the one before is not worth its error
        ends.append(end)
        end *= 2
    return [np.sort(drawn) for drawn in np.split(order, ends)]


def error_rates(count: int, alpha: float) -> list[float]:
    """What each of `count` looks may err, so that all together err at most `alpha` (Bonferroni).

    Source: S. J. Pocock, Biometrika 64 (1977) 191-199, on testing more than once as data accumulate.
    """
    if count == 1:
        return [alpha]
    return [alpha * EARLY_SHARE / (count - 1)] * (count - 1) + [alpha * (1 - EARLY_SHARE)]
