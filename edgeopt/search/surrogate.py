"""All that is predicted of a candidate: the objective, the accuracy drop, and whether it is allowed."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray
from scipy.special import ndtr

from edgeopt.core.measurement import Measurement
from edgeopt.core.objective import Limits
from edgeopt.core.quantity import Quantity
from edgeopt.core.trial import Trial
from edgeopt.search.accuracy import AccuracyModel
from edgeopt.search.bayes import Floats
from edgeopt.search.context import RegionNoise, SearchContext
from edgeopt.search.figure import FigureModel
from edgeopt.search.layout import Codes, Layout

SOURCE = "surrogate"
UNITS = {
    "latency": "ms", "p95": "ms", "cold-start": "ms", "energy": "mJ", "memory": "bytes", "size": "bytes",
    "utilization": "",
}  # fmt: skip
STOPPED_ERROR = 0.2
"""Relative error of a candidate that was given up as hopeless after its first slice."""


class Surrogate:
    """Predicts batches of encoded candidates, fitted on all trials so far.

    Attributes:
        objective: Model of the objective's figure, as log ratio to the default model's.
        accuracy: Model of the drop; None where accuracy is not known.
        allowed_drop: Absolute; None where accuracy is not known.
        codes: `(N, P)` trials with a known figure.
        logs: `(N,)` their measured log ratio to the default model's figure.
        feasible: `(N,)` which of them satisfied every constraint.
        limits: Model and bound of each figure that a hard limit speaks of.
    """

    def __init__(self, layout: Layout, context: SearchContext) -> None:
        history = context.history()
        self.layout, self._name = layout, context.objective.name
        self.allowed_drop = context.allowed_drop()
        self.accuracy = self._fit_accuracy(history, context.region_noise())
        self.objective = FigureModel(
            layout, context.objective.name, context.region_ms(), savings=context.savings()
        )
        measured = [t for t in history if _figure(context, t) is not None]
        values = np.array([_figure(context, t) for t in measured], dtype=np.float64)
        self.codes = layout.encode([t.candidate for t in measured])
        self.objective.fit(self.codes, values, np.array([relative_error(t) for t in measured]))
        self.logs = np.log(values) - self.objective.reference
        self.feasible = np.array([t.state == "COMPLETE" for t in measured], dtype=bool)
        self.limits = self._fit_limits(context, history)

    def predict(self, codes: Codes) -> tuple[Floats, Floats]:
        """Mean and standard deviation of `log(figure / default's figure)`, each `(B,)`."""
        return self.objective.predict(codes)

    def expected(self, row: Codes) -> dict[str, Quantity]:
        """The objective's figure and the drop of one candidate `(P,)`, with 95 % intervals.

        Without a measurement the figure's scale is unknown, and it is left out.
        """
        found: dict[str, Quantity] = {}
        if len(self.codes):
            mean, deviation = (float(part[0]) for part in self.predict(row[None]))
            value, low, high = np.exp(
                self.objective.reference + mean + deviation * np.array([0, -1.96, 1.96])
            )
            unit = UNITS[self._name]
            found[self._name] = Quantity(float(value), unit, float(low), float(high), "predicted", SOURCE)
        if self.accuracy is not None:
            mean, deviation = (float(part[0]) for part in self.accuracy.predict(row[None]))
            low, high = mean - 1.96 * deviation, mean + 1.96 * deviation
            found["drop"] = Quantity(mean, "", low, high, "predicted", SOURCE)
        return found

    def feasibility(self, codes: Codes) -> Floats:
        """`(B,)` probability that a candidate keeps the accuracy and every limit."""
        probability = np.ones(len(codes))
        if self.accuracy is not None and self.allowed_drop is not None:
            mean, deviation = self.accuracy.predict(codes)
            probability *= ndtr((self.allowed_drop - mean + 1e-9) / deviation)
        for model, bound in self.limits:
            mean, deviation = model.predict(codes)
            probability *= ndtr((np.log(bound) - model.reference - mean) / deviation)
        return probability

    def incumbent(self) -> tuple[Codes, float] | None:
        """Codes `(P,)` and log ratio of the best feasible trial; None before there is one."""
        if not self.feasible.any():
            return None
        best = int(np.argmin(np.where(self.feasible, self.logs, np.inf)))
        return self.codes[best], float(self.logs[best])

    def elite(self, count: int) -> Codes:
        """`(<= count, P)` the best feasible trials, best first."""
        order = np.argsort(np.where(self.feasible, self.logs, np.inf), kind="stable")
        return self.codes[order[: min(count, int(self.feasible.sum()))]]

    def _fit_accuracy(self, history: Sequence[Trial], noise: RegionNoise) -> AccuracyModel | None:
        if self.allowed_drop is None:
            return None
        model = AccuracyModel(self.layout, self.allowed_drop, noise)
        known = [(t.candidate, t.accuracy) for t in history if t.accuracy and t.accuracy.drop is not None]
        drops = np.array([accuracy.drop for _, accuracy in known], dtype=np.float64)
        samples = np.array([accuracy.n for _, accuracy in known], dtype=np.float64)
        model.fit(self.layout.encode([candidate for candidate, _ in known]), drops, samples)
        return model

    def _fit_limits(
        self, context: SearchContext, history: Sequence[Trial]
    ) -> list[tuple[FigureModel, float]]:
        models = []
        original = next((t for t in history if t.kind == "baseline"), None)
        limits = _bounds(context.objective.limits)
        ceilings = context.objective.ceilings(original)
        for figure in dict.fromkeys((*limits, *ceilings)):
            known = [(t, value) for t in history if (value := _limited(t, figure))]
            bound = min(limits.get(figure, np.inf), ceilings.get(figure, np.inf))
            if figure not in limits and all(value <= bound for _, value in known):
                continue  # nothing yet is much worse than the original
            model = FigureModel(self.layout, figure, context.region_ms(), savings=context.savings())
            model.fit(
                self.layout.encode([t.candidate for t, _ in known]),
                np.array([value for _, value in known], dtype=np.float64),
                np.array([relative_error(t) for t, _ in known]),
            )
            # Before the first measurement the figure's scale is unknown: no ground to reject anything.
            if known:
                models.append((model, bound))
        return models


def known_mask(codes: Codes, others: Codes) -> NDArray[np.bool_]:
    """`(B,)` which rows of `codes` are among `others`."""
    seen = {row.tobytes() for row in np.ascontiguousarray(others)}
    return np.array([row.tobytes() in seen for row in np.ascontiguousarray(codes)], dtype=bool)


def _figure(context: SearchContext, trial: Trial) -> float | None:
    if trial.state == "FAILED" or trial.measurement is None or trial.artifact is None:
        return None
    value = context.objective.value(trial.measurement, trial.artifact)
    return value if value and value > 0 else None


def relative_error(trial: Trial) -> float:
    """Standard deviation of a measured time, as a fraction of it."""
    measurement = trial.measurement
    if measurement is None or measurement.stopped_early:
        return STOPPED_ERROR
    return measurement.latency.relative_error / 1.96


def _bounds(limits: Limits) -> dict[str, float]:
    bounds = {
        "latency": limits.max_latency_ms,
        "p95": limits.max_p95_ms,
        "memory": limits.max_memory_bytes,
        "size": limits.max_size_bytes,
        "power": limits.max_power_w,
        "cold-start": limits.max_cold_start_ms,
        # A least share of the peak is a most multiple of the time at the peak.
        "utilization": 1 / limits.min_utilization if limits.min_utilization else None,
    }
    return {figure: bound for figure, bound in bounds.items() if bound is not None}


def _limited(trial: Trial, figure: str) -> float | None:
    if figure == "size":
        return float(trial.artifact.size_bytes) if trial.artifact else None
    return _measured_figure(trial.measurement, figure) if trial.measurement else None


def _measured_figure(measurement: Measurement, figure: str) -> float | None:
    value = {
        "latency": measurement.p50_ms,
        "p95": measurement.p95_ms,
        "memory": measurement.peak_rss_bytes,
        "power": measurement.power_w.value if measurement.power_w else None,
        "cold-start": measurement.cold_start_ms,
        "utilization": 1 / measurement.roofline_fraction if measurement.roofline_fraction else None,
    }[figure]
    return None if value is None else float(value)
