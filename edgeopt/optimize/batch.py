"""`--batch N`: data come one sample at a time, the board is fed N at once."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from edgeopt.boards.board import Feeds
from edgeopt.core.digest import value_digest
from edgeopt.core.errors import ConfigError
from edgeopt.core.tensor import TensorSpec
from edgeopt.data.split import Part
from edgeopt.data.streams import stream

Array = NDArray[np.generic]
Run = Callable[[Feeds], list[Array]]


@dataclass(frozen=True, slots=True)
class Batch:
    """How many samples go into one inference, on which axis of inputs and outputs.

    A model frozen at N is judged one sample at a time, by an inference of N copies of which the first
    answer counts: slower, but every metric and every streaming state keeps its meaning.
    """

    size: int
    axis: int

    def shapes(
        self, inputs: Sequence[TensorSpec], known: Mapping[str, tuple[int, ...]]
    ) -> dict[str, tuple[int, ...]]:
        """The shapes to freeze at: `known` ones of a single sample, widened to the batch.

        Raises:
            ConfigError: No input can be widened.
        """
        if self.size == 1:
            return dict(known)
        shapes = {spec.name: spec.shape for spec in inputs if spec.is_static} | dict(known)
        widened = {name: self._widened(shape) for name, shape in shapes.items()}  # type: ignore[arg-type]
        if widened == shapes:
            raise ConfigError(
                f"--batch {self.size}: no input has one sample on axis {self.axis}",
                hint="[model] batch_axis says which axis counts samples",
            )
        return widened

    def fill(self, feeds: Feeds) -> dict[str, Array]:
        """One sample as a whole batch."""
        if self.size == 1:
            return dict(feeds)
        return {name: self._filled(value) for name, value in feeds.items()}

    def run(self, run: Run) -> Run:
        """Inference of one sample by a model frozen at this batch."""
        if self.size == 1:
            return run
        return lambda feeds: self.first(run(self.fill(feeds)))

    def first(self, outputs: list[Array]) -> list[Array]:
        """What a whole batch's outputs say of its first sample."""
        return outputs if self.size == 1 else [self._first(value) for value in outputs]

    def _widened(self, shape: tuple[int, ...]) -> tuple[int, ...]:
        if len(shape) <= self.axis or shape[self.axis] != 1:
            return shape
        return (*shape[: self.axis], self.size, *shape[self.axis + 1 :])

    def _filled(self, value: Array) -> Array:
        if value.ndim <= self.axis or value.shape[self.axis] != 1:
            return value
        return np.repeat(value, self.size, axis=self.axis)

    def _first(self, value: Array) -> Array:
        if value.ndim <= self.axis or value.shape[self.axis] != self.size:
            return value
        return value.take([0], axis=self.axis)


@dataclass(frozen=True, slots=True)
class BatchedSamples:
    """A part of the data as the frozen model is fed it.

    Attributes:
        original: Inference of the original: what its states hold from the second sample of a stream on.
        state: `{output: input}` of a streaming model.
        output_names: Of the model, in order.
    """

    part: Part
    batch: Batch
    original: Run
    state: Mapping[str, str]
    output_names: tuple[str, ...]

    @property
    def digest(self) -> str:
        return value_digest(self.part.digest, self.batch.size, self.batch.axis, dict(self.state))

    def samples(self) -> Iterator[Feeds]:
        if not self.state:
            return (self.batch.fill(feeds) for feeds in self.part.samples())
        fed = stream(self.part, self.original, state=self.state, output_names=self.output_names)
        return (self.batch.fill(feeds) for feeds, _ in fed)


def with_shapes(
    inputs: Sequence[TensorSpec], shapes: Mapping[str, tuple[int, ...]]
) -> tuple[TensorSpec, ...]:
    """The inputs with what `--shape` says of them; a contradiction is left for `freeze` to name."""
    return tuple(replace(spec, shape=shapes.get(spec.name, spec.shape)) for spec in inputs)
