"""How wrong the search's predictions were: each made before its candidate was measured."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import get_args

import numpy as np
from numpy.typing import NDArray

from edgeopt.core.objective import Objective, ObjectiveName
from edgeopt.core.trial import Trial

NORMAL_90, NORMAL_95 = 1.645, 1.96


@dataclass(frozen=True, slots=True)
class PredictionError:
    """Of one figure, over the trials that were predicted and then measured.

    Attributes:
        figure: `latency`, …, or `drop`.
        n: Trials.
        median_error: Median of the absolute error; of a figure relative to what was measured, of a drop
            absolute.
        bias: Median of predicted ÷ measured − 1; of a drop, of predicted − measured. Negative: optimistic.
        covered: Share of the trials whose measured value lies in the 90 % interval.
        spearman: Rank correlation of predicted and measured; None below 3 trials, or where all are equal.
    """

    figure: str
    n: int
    median_error: float
    bias: float
    covered: float
    spearman: float | None


def errors(trials: Sequence[Trial]) -> list[PredictionError]:
    """One entry per figure that was predicted and then measured at least once; replays do not count."""
    figures = dict.fromkeys(figure for trial in trials for figure in trial.predicted)
    return [error for figure in figures if (error := _error(figure, trials)) is not None]


def _error(figure: str, trials: Sequence[Trial]) -> PredictionError | None:
    rows = []
    for trial in trials:
        expected, value = trial.predicted.get(figure), _value(figure, trial)
        if expected is not None and value is not None and trial.replay_of is None:
            rows.append((expected.value, expected.low, expected.high, value))
    if not rows:
        return None
    predicted, low, high, measured = np.array(rows).T
    if figure != "drop":
        ends = np.log(low), np.log(high)
        inside, apart = np.log(measured), predicted / measured - 1
    else:
        ends, inside, apart = (low, high), measured, predicted - measured
    middle, half = (ends[0] + ends[1]) / 2, (ends[1] - ends[0]) / 2 * NORMAL_90 / NORMAL_95
    return PredictionError(
        figure, len(rows), float(np.median(np.abs(apart))), float(np.median(apart)),
        float(np.mean(np.abs(inside - middle) <= half + 1e-9)), _spearman(predicted, measured),
    )  # fmt: skip


def _value(figure: str, trial: Trial) -> float | None:
    if figure == "drop":
        return trial.accuracy.drop if trial.accuracy else None
    if figure not in get_args(ObjectiveName) or trial.measurement is None or trial.artifact is None:
        return None
    if trial.measurement.stopped_early:  # given up after its first slice: no figure to judge by
        return None
    return Objective(figure).value(trial.measurement, trial.artifact)  # type: ignore[arg-type]


def _spearman(a: NDArray[np.float64], b: NDArray[np.float64]) -> float | None:
    if len(a) < 3 or np.ptp(a) == 0 or np.ptp(b) == 0:
        return None
    from scipy.stats import spearmanr

    return float(spearmanr(a, b).statistic)
