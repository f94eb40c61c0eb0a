"""Data from `module:function`: a generator of the user's that yields `(inputs, label)`."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Any

import numpy as np

from edgeopt.core.errors import DataError
from edgeopt.core.interface import Levels
from edgeopt.core.tensor import TensorSpec
from edgeopt.data.dataset import Feeds, counted
from edgeopt.data.fit import Array, fit
from edgeopt.data.levels import normalised, normalises, of_array
from edgeopt.data.preprocess import Preprocess


class Generator:
    """A `Source` over a function that is called again for each pass and must yield the same each time.

    `inputs` is a mapping by input name, or the bare array where one input is not fixed; without the batch
    axis it is added. `label` is None in all samples or in none.

    Raises:
        DataError: The function raises, yields anything else, or yields no samples.
    """

    def __init__(
        self,
        reference: str,
        function: Callable[[], Iterable[Any]],
        inputs: Sequence[TensorSpec],
        free: Sequence[TensorSpec],
        preprocess: Preprocess | None = None,
    ) -> None:
        self._preprocess = preprocess or Preprocess()
        self._dtypes: dict[str, np.dtype[Any]] = {}
        self.name = reference
        self.stamp: str | None = None  # code may read anything: only running it tells
        self.groups: Array | None = None
        self.classes: tuple[str, ...] | None = None
        self._function, self._inputs, self._free = function, {s.name: s for s in inputs}, free
        self._first: str | None = None
        self.arrays: tuple[str, ...] = ()
        self._length, self.labels = self._survey()

    def __len__(self) -> int:
        return self._length

    def read(self, indices: Array | None) -> Iterator[Feeds]:
        passed = enumerate(self._pass())
        for index in range(self._length) if indices is None else indices:
            for number, (values, _) in passed:
                if number == 0:
                    self._check_first(values)
                if number == index:
                    yield self._fitted(number, values)
                    break
            else:
                raise DataError(
                    f"{self.name} yielded {counted(self._length, 'sample')} before, now it ends sooner"
                )

    def column(self, name: str, indices: Array) -> Array | None:  # noqa: ARG002 - it stores no arrays
        return None

    def levels(self) -> dict[str, Levels | str]:
        """See `Source`."""
        return {
            name: of_array(dtype, self._preprocess, self._inputs[name])
            for name, dtype in self._dtypes.items()
        }

    def _survey(self) -> tuple[int, Array | None]:
        labels: list[Any] = []
        count = 0
        for count, (values, label) in enumerate(self._pass(), start=1):
            if count == 1:
                self.arrays = tuple(values)
                self._first = _digest(values)
            elif tuple(values) != self.arrays:
                raise DataError(f"sample {count - 1} of {self.name} has other inputs than the first")
            for name, value in values.items():
                first = self._dtypes.setdefault(name, value.dtype)
                self._dtypes[name] = np.promote_types(first, value.dtype) if first != value.dtype else first
            labels.append(label)
        if not count:
            raise DataError(f"{self.name} yielded no samples")
        given = [label for label in labels if label is not None]
        if given and len(given) != count:
            raise DataError(
                f"{self.name} yields a label with {len(given)} of {counted(count, 'sample')}: all or none"
            )
        return count, _stacked(self.name, given) if given else None

    def _pass(self) -> Iterator[tuple[dict[str, Array], Any]]:
        try:
            iterator = iter(self._function())
        except Exception as error:
            raise self._raised(error) from error
        index = 0
        while True:
            try:
                item = next(iterator)
            except StopIteration:
                return
            except Exception as error:
                raise self._raised(error) from error
            yield self._read_item(index, item)
            index += 1

    def _raised(self, error: Exception) -> DataError:
        return DataError(f"the data function {self.name} raised {type(error).__name__}: {error}")

    def _read_item(self, index: int, item: object) -> tuple[dict[str, Array], Any]:
        where = f"sample {index} of {self.name}"
        if not isinstance(item, tuple) or len(item) != 2:
            raise DataError(f"{where} is a {type(item).__name__}: it must yield (inputs, label)")
        inputs, label = item
        if not isinstance(inputs, Mapping):
            if len(self._free) != 1:
                names = ", ".join(spec.name for spec in self._free)
                raise DataError(f"{where} is one array, but the model's inputs are {names}: yield a dict")
            inputs = {self._free[0].name: inputs}
        for name in inputs:
            if name not in self._inputs:
                known = ", ".join(self._inputs)
                raise DataError(f"{where}: the model has no input {name!r}; its inputs are {known}")
        try:
            # Copied: a generator may fill the same buffer again.
            return {name: np.array(value) for name, value in inputs.items()}, label
        except (ValueError, TypeError) as error:
            raise DataError(f"{where}: not an array ({error})") from error

    def _fitted(self, index: int, values: dict[str, Array]) -> Feeds:
        feeds = {}
        for name, value in values.items():
            spec = self._inputs[name]
            full, where = (
                value if value.ndim == len(spec.shape) else value[None],
                f"sample {index} of {self.name}",
            )
            if normalises(self._preprocess, spec, full.dtype):
                full = normalised(full, self._preprocess, spec, where)
            feeds[name] = fit(spec, full, where)
        return feeds

    def _check_first(self, values: dict[str, Array]) -> None:
        if _digest(values) != self._first:
            raise DataError(
                f"{self.name} yields other samples when it is called again", hint="seed its random numbers"
            )


def _digest(values: dict[str, Array]) -> str:
    content = hashlib.sha256()
    for value in values.values():
        content.update(f"{value.dtype}{value.shape}".encode() + value.tobytes())
    return content.hexdigest()


def _stacked(name: str, labels: list[Any]) -> Array:
    try:
        stacked: Array = np.stack([np.asarray(label) for label in labels])
    except (ValueError, TypeError) as error:
        raise DataError(f"{name}: the labels differ in shape ({error})") from error
    if stacked.dtype.kind not in "biufU":
        raise DataError(f"{name}: labels of type {stacked.dtype} are neither numbers nor words")
    return stacked
