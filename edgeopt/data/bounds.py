"""How far a paired drop may really go: one-sided upper bounds from a sample."""

from __future__ import annotations

import math
from collections.abc import Callable
from statistics import NormalDist

import numpy as np

from edgeopt.data.fit import Array

REPLICATES = 2000
_MOST_SAMPLES = 10**8


def tango_upper(lost: float, gained: float, n: float, alpha: float) -> float:
    """Upper bound of a drop in accuracy, both models on the same samples: the score interval.

    It stays above zero where no answer differs, unlike an interval from the observed variance.

    Args:
        lost: Samples that the original has right and the candidate wrong.
        gained: The reverse.
        n: All samples.
        alpha: One-sided error, 0.05 for a 95 % bound.

    Source: T. Tango, Statistics in Medicine 17 (1998) 891-908, section 3.
    """
    z = NormalDist().inv_cdf(1 - alpha)
    low, high = (lost - gained) / n, 1.0
    for _ in range(60):
        middle = (low + high) / 2
        low, high = (middle, high) if _tango_score(lost, gained, n, middle) > -z else (low, middle)
    return high


def _tango_score(lost: float, gained: float, n: float, drop: float) -> float:
    """The score statistic of the hypothesis that the true drop is `drop`."""
    linear = -lost - gained + (2 * n - lost + gained) * drop
    constant = -gained * drop * (1 - drop)
    root = math.sqrt(max(0.0, linear * linear - 8 * n * constant))
    gain_rate = max(0.0, (root - linear) / (4 * n))  # its maximum-likelihood estimate under `drop`
    variance = n * (2 * gain_rate + drop * (1 - drop))
    excess = lost - gained - n * drop
    return excess / math.sqrt(variance) if variance > 0 else math.copysign(math.inf, excess)


def tango_needed(lost: int, gained: int, n: int, alpha: float, allowed: float) -> int | None:
    """How many samples would bring the bound down to `allowed`, errors keeping their rates."""
    if (lost - gained) / n >= allowed:
        return None

    def enough(samples: int) -> bool:
        return tango_upper(lost * samples / n, gained * samples / n, samples, alpha) <= allowed

    high = n
    while not enough(high):
        high *= 2
        if high > _MOST_SAMPLES:
            return None
    low = high // 2
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (low, middle) if enough(middle) else (middle, high)
    return high


def needed_by_width(n: int, drop: float, bound: float, allowed: float) -> int | None:
    """The same for any bound: the width of an interval falls with the square root of the samples."""
    return None if drop >= allowed else math.ceil(n * ((bound - drop) / (allowed - drop)) ** 2)


def t_upper(differences: Array, alpha: float, scale: float) -> float:
    """Upper bound of the mean of `(n,)` paired differences, by Student's t.

    Args:
        scale: How large a difference could be: bounds what samples without any variance may hide.
    """
    from scipy.special import stdtrit

    n = len(differences)
    spread = float(np.std(differences, ddof=1)) if n > 1 else 0.0
    if spread == 0:
        return unseen_upper(float(differences[0]), n, alpha, scale)
    return float(np.mean(differences)) + float(stdtrit(n - 1, 1 - alpha)) * spread / math.sqrt(n)


def unseen_upper(drop: float, n: int, alpha: float, scale: float) -> float:
    """Upper bound where `n` units all dropped by the same: others, never seen, may drop by `scale`.

    A share of 1 - alpha^(1/n) of the population stays unseen in `n` draws with probability alpha.
    """
    return drop + scale * (1 - math.pow(alpha, 1 / n))


def bootstrap_upper(
    drop_of: Callable[[Array], float], units: int, alpha: float, seed: int, scale: float
) -> float:
    """Upper bound of a drop by resampling units (samples, or groups of them), both models alike.

    The percentile interval, widened for small samples as Student's t widens the normal.

    Args:
        drop_of: Numbers of units, repeats allowed -> the drop; NaN where the metric is not defined there.
        scale: How large a drop could be, for units without any variance.

    Source: T. Hesterberg, The American Statistician 69 (2015) 371-386, section 5.3 (expanded percentile).
    """
    from scipy.special import stdtrit

    observed = drop_of(np.arange(units))
    if units < 2:
        return unseen_upper(observed, units, alpha, scale)
    draw = np.random.default_rng(seed)
    drops = np.array([drop_of(draw.integers(units, size=units)) for _ in range(REPLICATES)])
    drops = drops[np.isfinite(drops)]
    # A metric that most resamples leave undefined says nothing of its own spread.
    if len(drops) < REPLICATES // 2 or np.ptp(drops) == 0:
        return unseen_upper(observed, units, alpha, scale)
    widened = NormalDist().cdf(math.sqrt(units / (units - 1)) * float(stdtrit(units - 1, alpha)))
    return max(observed, float(np.quantile(drops, 1 - widened, method="higher")))
