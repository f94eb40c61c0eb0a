"""Joins the outputs of single inferences into what a metric takes."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from edgeopt.data.fit import Array
from edgeopt.data.metric import Answer, Outputs


@dataclass(frozen=True, slots=True)
class Joined:
    """Outputs over all samples.

    Attributes:
        values: One array per output, or a list of arrays where their shapes vary.
        axes: The axis of each that counts the samples; None for a list.
    """

    values: Outputs
    axes: tuple[int | None, ...]

    def take(self, rows: Array) -> Outputs:
        """The outputs of some samples, repeats allowed."""
        return [
            [value[row] for row in rows] if axis is None else np.take(value, rows, axis=axis)
            for value, axis in zip(self.values, self.axes, strict=True)
        ]


def join(answers: Iterable[Answer], batch_axis: int | None) -> Joined:
    """Concatenate each output along the batch axis; stack where it has none; list where shapes vary.

    Args:
        answers: One per sample, at least one.
        batch_axis: Of the model. An output has it if its size there is 1 (one inference holds one sample);
            None: no output has it.
    """
    joined = [_join(column, batch_axis) for column in zip(*answers, strict=True)]
    return Joined([value for value, _ in joined], tuple(axis for _, axis in joined))


def _join(column: Sequence[Array], batch_axis: int | None) -> tuple[Any, int | None]:
    shape = column[0].shape
    if any(value.shape != shape for value in column):
        return list(column), None
    if batch_axis is not None and len(shape) > batch_axis and shape[batch_axis] == 1:
        return np.concatenate(column, axis=batch_axis), batch_axis
    return np.stack(column), 0
