"""What many runs say of a sampler: medians over seeds, with bootstrap intervals, per oracle and in sum."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from edgeopt.bench.replay import Run
from edgeopt.search.bayes import Floats

RESAMPLES = 2000
REACHED = 0.95
BUDGETS = (10, 20, 40)
CONFIDENCE = 0.95


def medians(values: Floats) -> Floats:
    """`(3, M)` median over seeds with the ends of its 95 % interval, of `values` `(S, M)`.

    Source: Efron and Tibshirani, An Introduction to the Bootstrap, 1993, chapter 13 (percentile interval).
    """
    # "higher": what was never reached is infinite, and must not be averaged with a number.
    drawn = np.random.default_rng(0).integers(len(values), size=(RESAMPLES, len(values)))
    resampled = np.quantile(values[drawn], 0.5, axis=1, method="higher")
    tail = (1 - CONFIDENCE) / 2
    ends = np.quantile(resampled, (tail, 1 - tail), axis=0, method="nearest")
    return np.vstack([np.quantile(values, 0.5, axis=0, method="higher"), ends])


def median_with_interval(values: Sequence[float] | Floats) -> dict[str, Any]:
    """`{"median", "ci95"}` over seeds; infinite (never) becomes None."""
    median, low, high = (_known(float(v)) for v in medians(np.array(values, dtype=np.float64)[:, None])[:, 0])
    return {"median": median, "ci95": [low, high]}


def curve(run: Run, length: int) -> list[float]:
    """The best after 0 to `length` measurements; a search that ended early stays where it was."""
    return [run.best[min(n, len(run.best) - 1)] for n in range(length + 1)]


def measurements_to(run: Run, figure: float) -> float:
    """How many measurements it took to reach `figure`; infinite where it was not reached."""
    return next((float(n) for n, best in enumerate(run.best) if best <= figure), math.inf)


def scores(runs: Sequence[Run], best_known: float, full_volume: float | None, budget: int) -> dict[str, Any]:
    """One sampler on one oracle.

    Args:
        best_known: Least figure of any feasible candidate.
        full_volume: Hypervolume of all recorded candidates together; None without data.
    """
    curves = np.array([curve(run, budget) for run in runs])
    reference = float(curves[0, 0])
    gains = {
        "reach_95_of_best": best_known / REACHED,
        "reach_95_of_gain": reference * (best_known / reference) ** REACHED
        if reference < math.inf
        else best_known,
    }
    volumes = [run.hypervolume for run in runs if run.hypervolume is not None]
    last = [volume[-1] / full_volume for volume in volumes] if full_volume else []
    changed = [run.changed for run in runs if run.changed is not None]
    return {
        "seeds": len(runs),
        **{
            name: median_with_interval([measurements_to(run, figure) for run in runs])
            for name, figure in gains.items()
        },
        "share_reached": float(
            np.mean([measurements_to(r, gains["reach_95_of_best"]) < math.inf for r in runs])
        ),
        "speed": {
            **{str(n): median_with_interval(best_known / curves[:, n]) for n in BUDGETS if n <= budget},
            "end": median_with_interval(best_known / curves[:, budget]),
        },
        "hypervolume": median_with_interval(last) if last else None,
        "refused": float(np.mean([run.trials - len(run.best) + 1 for run in runs])),
        "changed": float(np.mean(changed)) if changed else None,
        "thinking_s": float(np.mean([run.thinking_s / max(run.trials, 1) for run in runs])),
        "curve": [
            {"median": _known(float(median)), "ci95": [_known(float(low)), _known(float(high))]}
            for median, low, high in medians(curves).T
        ],
    }


def in_sum(by_oracle: Mapping[str, Mapping[str, Mapping[str, Any]]], budget: int) -> dict[str, Any]:
    """All oracles together: geometric mean of the speed that was reached, mean rank, and ratios to `random`.

    Only oracles on which every sampler ran are summed, so that all are judged on the same.
    """
    samplers = sorted({name for of_one in by_oracle.values() for name in of_one})
    shared = [of_one for of_one in by_oracle.values() if set(of_one) == set(samplers)]
    table: dict[str, Any] = {}
    for name in samplers:
        speeds = [of_one[name]["speed"]["end"]["median"] for of_one in shared]
        ranks = [_rank(of_one, name) for of_one in shared]
        ratios = [_ratio(of_one, name) for of_one in shared]
        known = [ratio for ratio in ratios if ratio is not None]
        table[name] = {
            "oracles": len(shared),
            "speed": float(np.exp(np.mean(np.log([s or 1e-9 for s in speeds])))) if speeds else None,
            "rank": float(np.mean(ranks)) if ranks else None,
            "measurements_of_random": float(np.exp(np.mean(np.log(known)))) if known else None,
            "ratios_known": len(known),
        }
    return {"at": budget, "samplers": table}


def _rank(of_one: Mapping[str, Mapping[str, Any]], name: str) -> float:
    """1 is best; equals share the mean of their places."""

    def speed(sampler: str) -> float:
        return of_one[sampler]["speed"]["end"]["median"] or 0.0

    better = sum(speed(other) > speed(name) + 1e-9 for other in of_one)
    equal = sum(abs(speed(other) - speed(name)) <= 1e-9 for other in of_one)
    return better + (equal + 1) / 2


def _ratio(of_one: Mapping[str, Mapping[str, Any]], name: str) -> float | None:
    """Measurements to 95 % of the gain, as a share of `random`'s.

    None where either never got there, or where the references are there already.
    """
    if "random" not in of_one:
        return None
    mine, random = (of_one[sampler]["reach_95_of_gain"]["median"] for sampler in (name, "random"))
    return max(mine, 1.0) / random if mine is not None and random else None


def _known(value: float) -> float | None:
    return value if math.isfinite(value) else None
