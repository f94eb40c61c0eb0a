"""What a change of a candidate is predicted to bring, figure by figure: for explaining a result."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from edgeopt.core.candidate import Candidate
from edgeopt.core.objective import Objective
from edgeopt.core.quantity import Quantity
from edgeopt.core.trial import Trial
from edgeopt.search.accuracy import AccuracyModel
from edgeopt.search.bayes import Floats
from edgeopt.search.context import SearchContext
from edgeopt.search.figure import FigureModel
from edgeopt.search.layout import Codes, Layout
from edgeopt.search.surrogate import SOURCE, UNITS, relative_error

FIGURES = ("latency", "size", "energy")

Effects = Mapping[str, Quantity]
"""By figure (`latency`, `size`, `energy`, `drop`): one candidate's less another's. What is not known is left
out."""


def predicted(context: SearchContext, winner: Candidate, others: Sequence[Candidate]) -> list[Effects]:
    """The winner's figures less those of each of the others, with 95 % intervals.

    A figure that no trial of the history has, and a drop where there is no accuracy, is left out.
    """
    layout, history = Layout(context.space), context.history()
    base, codes = layout.encode([winner])[0], layout.encode(others)
    found: list[dict[str, Quantity]] = [{} for _ in others]
    for figure in FIGURES:
        known = [(t, value) for t in history if (value := _value(figure, t))]
        if not known:
            continue
        rows = _of_figure(layout, context, figure, known, base, codes).tolist()
        for effects, (value, low, high) in zip(found, rows, strict=True):
            effects[figure] = Quantity(value, UNITS[figure], low, high, "predicted", SOURCE)
    drops = _of_drop(layout, context, base, codes)
    if drops is not None:
        for effects, (value, low, high) in zip(found, drops.tolist(), strict=True):
            effects["drop"] = Quantity(value, "", low, high, "predicted", SOURCE)
    return list(found)


def _of_figure(
    layout: Layout,
    context: SearchContext,
    figure: str,
    known: Sequence[tuple[Trial, float]],
    base: Codes,
    codes: Codes,
) -> Floats:
    """`(B, 3)` value and the ends of its interval, in the figure's unit."""
    model = FigureModel(layout, figure, context.region_ms(), savings=context.savings())
    model.fit(
        layout.encode([t.candidate for t, _ in known]),
        np.array([value for _, value in known], dtype=np.float64),
        np.array([relative_error(t) for t, _ in known]),
    )
    winner = float(np.exp(model.reference + model.predict(base[None])[0][0]))
    mean, deviation = model.differences(codes, base)
    logs = np.stack([mean, mean + 1.96 * deviation, mean - 1.96 * deviation], axis=1)
    return np.asarray(winner * (1 - np.exp(logs)))


def _of_drop(layout: Layout, context: SearchContext, base: Codes, codes: Codes) -> Floats | None:
    """`(B, 3)` as `_of_figure`, absolute; None where accuracy is not known."""
    allowed = context.allowed_drop()
    known = [(t, t.accuracy.drop) for t in context.history() if t.accuracy and t.accuracy.drop is not None]
    if allowed is None or not known:
        return None
    model = AccuracyModel(layout, allowed, context.region_noise())
    model.fit(
        layout.encode([t.candidate for t, _ in known]),
        np.array([drop for _, drop in known], dtype=np.float64),
        np.array([t.accuracy.n if t.accuracy else 0 for t, _ in known], dtype=np.float64),
    )
    mean, deviation = model.differences(codes, base)
    return -np.stack([mean, mean + 1.96 * deviation, mean - 1.96 * deviation], axis=1)


def _value(figure: str, trial: Trial) -> float | None:
    if trial.state == "FAILED" or trial.measurement is None or trial.artifact is None:
        return None
    return Objective(figure).value(trial.measurement, trial.artifact)  # type: ignore[arg-type]
