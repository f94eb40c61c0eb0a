"""Best trial and Pareto front of a list of trials. No Optuna, no files."""

from __future__ import annotations

import math
from collections.abc import Sequence

from edgeopt.core.objective import Objective
from edgeopt.core.trial import Trial

MEMORY_STEP = 0.02
"""Peak memory differs by about this much from run to run: less is no advantage."""


def best(trials: Sequence[Trial], objective: Objective) -> Trial | None:
    """The trial with the smallest figure among those that kept every constraint; the earlier one of a tie."""
    known = [(value, t.number, t) for t in trials if (value := objective.of_trial(t)) is not None]
    return min(known, key=lambda entry: entry[:2])[2] if known else None


def pareto(trials: Sequence[Trial]) -> list[Trial]:
    """Feasible measured trials that no other beats in latency, size, memory, energy and drop, fastest first.

    A figure that is unknown for any trial is left out for all. Trials of different provenance or conditions
    are never compared: each keeps its own front.
    """
    known = [t for t in trials if t.state == "COMPLETE" and t.measurement and t.artifact]
    groups: dict[tuple[str, str], list[Trial]] = {}
    for trial in known:
        if trial.measurement:
            key = (trial.measurement.provenance, trial.measurement.conditions)
            groups.setdefault(key, []).append(trial)
    kept = [trial for group in groups.values() for trial in _undominated(group)]
    return sorted(kept, key=lambda t: (t.measurement.p50_ms if t.measurement else math.inf, t.number))


def _undominated(trials: Sequence[Trial]) -> list[Trial]:
    rows = [_figures(trial) for trial in trials]
    shared = [i for i in range(len(rows[0])) if all(row[i] is not None for row in rows)]
    points = [tuple(float(row[i] or 0.0) for i in shared) for row in rows]
    return [
        trial
        for i, trial in enumerate(trials)
        if not any(_beats(points[j], points[i], j < i) for j in range(len(points)) if j != i)
    ]


def _beats(a: tuple[float, ...], b: tuple[float, ...], earlier: bool) -> bool:
    """Nowhere worse and somewhere better; of equals the earlier."""
    return all(x <= y for x, y in zip(a, b, strict=True)) and (a != b or earlier)


def _figures(trial: Trial) -> tuple[float | None, ...]:
    measurement, artifact = trial.measurement, trial.artifact
    if measurement is None or artifact is None:
        return (None,) * 5
    rss = measurement.peak_rss_bytes
    return (
        measurement.p50_ms / (measurement.drift or 1.0),
        artifact.size_bytes,
        round(math.log(rss) / MEMORY_STEP) if rss else None,
        measurement.energy_mj.value if measurement.energy_mj else None,
        trial.accuracy.drop if trial.accuracy else None,
    )
