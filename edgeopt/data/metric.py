"""What a metric is: a mean over samples, or a function of all of them."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np

from edgeopt.core.errors import DataError
from edgeopt.data.fit import Array

Basis = Literal["labels", "agreement"]
Answer = tuple[Array, ...]
"""What a metric keeps of one sample's outputs: a class, a score, or all of them."""
CheckLabels = Callable[[Array | None], None]
"""Raises DataError where the labels of a part cannot be scored by the metric."""
Outputs = list[Any]
"""One array per model output over all samples; a list of arrays where shapes vary."""


def any_labels(_: Array | None) -> None:
    """The check of a metric that reads no labels."""


@dataclass(frozen=True, slots=True)
class PerSample:
    """A metric that is the mean of its samples' scores, higher is better.

    Attributes:
        basis: What a sample is compared with: its label, or the original's answer.
        keep: One sample's outputs -> what is kept of them.
        of_sample: (answer, label or original's answer) -> score.
        best: No sample can score more.
        is_binary: Every score is 0 or 1.
        check_labels: Of every part that is scored.
    """

    name: str
    basis: Basis
    keep: Callable[[Sequence[Array]], Answer]
    of_sample: Callable[[Answer, Any], float]
    best: float
    is_binary: bool = False
    check_labels: CheckLabels = any_labels


@dataclass(frozen=True, slots=True)
class Whole:
    """A metric of all samples together, higher is better.

    Attributes:
        keep: One sample's outputs -> what is kept of them.
        of_all: (outputs, original's outputs, the data's arrays) -> score.
        by_batch_axis: Outputs are joined along the model's batch axis; otherwise stacked on a new first one.
        check_labels: Of every part that is scored.
    """

    name: str
    basis: Basis
    keep: Callable[[Sequence[Array]], Answer]
    of_all: Callable[[Outputs, Outputs, Mapping[str, Array]], float]
    by_batch_axis: bool = False
    check_labels: CheckLabels = any_labels


Metric = PerSample | Whole


def evaluated(metric: Whole, outputs: Outputs, original: Outputs, data: Mapping[str, Array]) -> float:
    """The score of all samples.

    Raises:
        DataError: The metric raised, or its result is not a finite number.
    """
    try:
        score = metric.of_all(outputs, original, data)
        value = float(score)
    except DataError:
        raise
    # A metric of the user's is any code: whatever it raises is reported as its own.
    except Exception as error:
        raise DataError(f"the metric {metric.name} raised {type(error).__name__}: {error}") from error
    if not np.isfinite(value):
        raise NotFinite(f"the metric {metric.name} gave {value}, which is not a finite number")
    return value


class NotFinite(DataError):
    """A metric's result is NaN or infinite."""
