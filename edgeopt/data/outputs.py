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


class Resampler:
    """Takes rows again and again, into the same memory: what it gave before is overwritten.

    To get fresh memory from the system takes longer than to copy into it.
    """

    def __init__(self, joined: Joined) -> None:
        self._joined = joined
        self._taken: list[Array | None] = [None] * len(joined.values)

    def take(self, rows: Array) -> Outputs:
        """See `Joined.take`."""
        return [self._of_one(index, rows) for index in range(len(self._taken))]

    def _of_one(self, index: int, rows: Array) -> Any:
        value, axis = self._joined.values[index], self._joined.axes[index]
        if axis is None:
            return [value[row] for row in rows]
        shape = (*value.shape[:axis], len(rows), *value.shape[axis + 1 :])
        taken = self._taken[index]
        if taken is None or taken.shape != shape:
            taken = self._taken[index] = np.empty(shape, value.dtype)
        # Every row is there; without a mode numpy would copy once more, for the case that one is not.
        return np.take(value, rows, axis=axis, out=taken, mode="clip")


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
