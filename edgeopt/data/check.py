"""What `edgeopt data check` shows: a few decoded samples with the model's answers."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from edgeopt.data.dataset import Dataset, Feeds
from edgeopt.data.fit import Array
from edgeopt.data.metrics import has_classes

_VALUES = 4


@dataclass(frozen=True, slots=True)
class InputSummary:
    """One input of one sample as the model gets it."""

    name: str
    dtype: str
    shape: tuple[int, ...]
    low: float
    high: float
    mean: float


@dataclass(frozen=True, slots=True)
class Row:
    """One sample.

    Attributes:
        label: As stored; None without labels.
        class_name: Where labels came from names.
        answer: The arg-max of output 0; None where it has no classes.
        confidence: Probability of the answer, 0..1, after a softmax where output 0 holds logits; None
            where the model tells only the class.
        values: The first values of output 0.
    """

    index: int
    label: int | float | str | tuple[object, ...] | None
    class_name: str | None
    inputs: tuple[InputSummary, ...]
    answer: int | None
    confidence: float | None
    values: tuple[float, ...]


def check(dataset: Dataset, run: Callable[[Feeds], list[Array]], n: int = 10) -> list[Row]:
    """`n` samples spread evenly over the data set (a folder of classes shows several of them).

    Args:
        run: One inference of the model.
    """
    indices = np.unique(np.linspace(0, len(dataset) - 1, min(n, len(dataset))).round().astype(np.int64))
    samples = dataset.samples(indices)
    return [
        _row(dataset, int(index), feeds, run(feeds)) for index, feeds in zip(indices, samples, strict=True)
    ]


def _row(dataset: Dataset, index: int, feeds: Feeds, outputs: list[Array]) -> Row:
    label = None if dataset.labels is None else dataset.labels[index].tolist()
    answer, confidence = _answer(outputs)
    return Row(
        index=index,
        label=tuple(label) if isinstance(label, list) else label,
        class_name=dataset.classes[label] if dataset.classes and isinstance(label, int) else None,
        inputs=tuple(_summary(name, value) for name, value in feeds.items()),
        answer=answer,
        confidence=confidence,
        values=tuple(float(value) for value in outputs[0].reshape(-1)[:_VALUES]),
    )


def _summary(name: str, value: Array) -> InputSummary:
    numbers = value.astype(np.float64) if value.size else np.full(1, np.nan)
    return InputSummary(
        name, str(value.dtype), value.shape,
        float(numbers.min()), float(numbers.max()), float(numbers.mean()),
    )  # fmt: skip


def _answer(outputs: list[Array]) -> tuple[int | None, float | None]:
    if not has_classes(outputs):
        return None, None
    first = outputs[0].reshape(-1)
    if first.dtype.kind in "iu":
        return int(first[0]), None
    scores = first.astype(np.float64)
    if scores.min() < 0 or not np.isclose(scores.sum(), 1, atol=1e-3):
        powers = np.exp(scores - scores.max())
        scores = powers / powers.sum()
    return int(scores.argmax()), float(scores.max())
