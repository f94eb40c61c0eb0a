"""95 % intervals of the figures of one measurement, from what its repetitions show."""

from __future__ import annotations

import math
import statistics
from collections.abc import Sequence
from statistics import NormalDist

from edgeopt.boards.intervals import t_quantile
from edgeopt.core.measurement import Measurement
from edgeopt.core.quantity import Quantity

LEAST_PROCESSES = 3
"""Fewer say too little of what differs between them."""

PERCENTILES = {"p90": 90, "p95": 95, "p99": 99}
TAIL = 95
"""From here on, what differs between processes is what their 95th percentiles show."""


def intervals(said: Measurement) -> dict[str, list[float] | None]:
    """Lower and upper end by figure, in the figure's unit; None where nothing is known of its error.

    A figure that a model said has none: how far two of them may be apart is the board's pairwise error.
    """
    if said.provenance != "measured":
        return dict.fromkeys(("p50", *PERCENTILES, "cold-start", "memory", "energy", "power"))
    return {
        "p50": [said.latency.low, said.latency.high],
        **{name: percentile(said, q) for name, q in PERCENTILES.items()},
        "cold-start": between(said.process_cold_start_ms, said.cold_start_ms),
        "memory": across(said.process_peak_rss_bytes),
        "energy": _ends(said.energy_mj),
        "power": _ends(said.power_w),
    }


def between(values: Sequence[float], middle: float | None) -> list[float] | None:
    """Of the typical value of fresh processes: Student's t of their logarithms around `middle`."""
    if middle is None or len(values) < LEAST_PROCESSES or min(values) <= 0:
        return None
    reach = _reach(values)
    return [middle * math.exp(-reach), middle * math.exp(reach)]


def across(values: Sequence[float]) -> list[float] | None:
    """The range of the highest of several processes: from the least that one needed to the most."""
    return [float(min(values)), float(max(values))] if len(values) >= LEAST_PROCESSES else None


def percentile(said: Measurement, q: float) -> list[float] | None:
    """Of a percentile: order statistics of all samples, and in quadrature the spread between processes.

    Source: Conover, "Practical Nonparametric Statistics", section 3.2 (the binomial interval of a quantile).
    """
    n, ordered = len(said.latencies_ms), sorted(said.latencies_ms)
    if said.percentile_ms(q, least=64) is None or len(said.process_p50_ms) < LEAST_PROCESSES:
        return None
    share = q / 100
    half = NormalDist().inv_cdf(0.975) * math.sqrt(n * share * (1 - share))
    low = ordered[max(0, math.floor(n * share - half) - 1)]
    above = math.ceil(n * share + half)
    if above >= n:
        return None  # too few samples lie above to bound it
    middle = ordered[min(n - 1, round(share * (n - 1)))]
    reach = _reach(said.process_p50_ms)
    if q >= TAIL and len(said.process_p95_ms) >= LEAST_PROCESSES:
        # Other work hits one process and not the next: tails differ more than medians do.
        reach = max(reach, _reach(said.process_p95_ms))
    return [
        middle * math.exp(-math.hypot(math.log(middle / low), reach)),
        middle * math.exp(math.hypot(math.log(ordered[above] / middle), reach)),
    ]


def _reach(values: Sequence[float]) -> float:
    logs = [math.log(value) for value in values]
    return t_quantile(len(logs) - 1) * statistics.stdev(logs) / math.sqrt(len(logs))


def _ends(quantity: Quantity | None) -> list[float] | None:
    if quantity is None or quantity.low == quantity.high:
        return None
    return [quantity.low, quantity.high]
