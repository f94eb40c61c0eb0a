"""Plain predictions of the same published rows, each row's model left out of what they are fitted to.

All know only what a network computes and moves, by the layer tables of its paper.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence

import fit_predicted
import numpy as np
import published_models
from numpy.typing import NDArray
from scipy.optimize import least_squares

from edgeopt.boards import profiles

Row = tuple[str, str, str, int, float]
"""Device, model, type, threads, published ms."""

ELEMENT_BYTES = {"fp32": 4, "int8": 1}
RATES = ("fp32", "int8")


def flops_only(rows: Sequence[Row]) -> list[float]:
    """Operations / rate; a rate per board and type."""
    return _rates(rows, bandwidth=False)


def flops_and_bytes(rows: Sequence[Row]) -> list[float]:
    """Operations / rate + bytes / bandwidth; a rate per board and type, a bandwidth per board."""
    return _rates(rows, bandwidth=True)


def roofline(rows: Sequence[Row]) -> list[float]:
    """The additive roofline of `fit_predicted.py`, fitted to all rows of the board but the model's."""
    predicted = []
    published = fit_predicted.published()
    for device, model, dtype, threads, _ in rows:
        start = fit_predicted.blank(profiles.load(device))
        others = fit_predicted.observed(start, [row for row in published[device] if row["model"] != model])
        found = fit_predicted.fit(start, others)
        this = {
            "model": model,
            "dtype": dtype,
            "threads": str(threads),
            "runtime": "litert",
            "latency_ms": "1",
        }
        residual = fit_predicted.residuals(found, fit_predicted.observed(start, [this]))
        predicted.append(math.exp(residual[0]))
    return predicted


BASELINES: dict[str, Callable[[Sequence[Row]], list[float]]] = {
    "FLOPs only": flops_only,
    "FLOPs + bytes": flops_and_bytes,
    "roofline": roofline,
}


def _rates(rows: Sequence[Row], *, bandwidth: bool) -> list[float]:
    predicted = []
    for row in rows:
        others = [other for other in rows if other[0] == row[0] and other[1] != row[1]]
        found = _fit(
            np.array([_cost(other, bandwidth) for other in others]), np.log([other[4] for other in others])
        )
        predicted.append(float(_cost(row, bandwidth) @ found))
    return predicted


def _fit(costs: NDArray[np.float64], log_ms: NDArray[np.float64]) -> NDArray[np.float64]:
    """Time of each unit of cost; one that no row tells stays where it starts."""
    start = np.log(np.full(costs.shape[1], 0.01))

    def loss(x: NDArray[np.float64]) -> NDArray[np.float64]:
        return np.concatenate([np.log(costs @ np.exp(x)) - log_ms, 0.05 * (x - start)])

    return np.exp(least_squares(loss, start).x)


def _cost(row: Row, bandwidth: bool) -> NDArray[np.float64]:
    """M operations of each type, and 10 kB moved."""
    _, model, dtype, _, _ = row
    net = published_models.NETWORKS[model][0]()
    moved = (net.total("params") + net.total("read") + net.total("write")) * ELEMENT_BYTES[dtype]
    operations = [net.total("macs") / 1e6 if dtype == rate else 0.0 for rate in RATES]
    return np.array([*operations, moved / 1e4] if bandwidth else operations)
