"""Data from an `.npz`: one array per model input, first axis = samples, streamed."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np

from edgeopt.core.digest import value_digest
from edgeopt.core.errors import DataError
from edgeopt.core.interface import Levels
from edgeopt.core.tensor import TensorSpec
from edgeopt.data.dataset import Feeds
from edgeopt.data.fit import Array, castable, element_type, fit, shape_fits
from edgeopt.data.levels import normalised, normalises, of_array
from edgeopt.data.npy_member import Member, members
from edgeopt.data.preprocess import Preprocess


class Npz:
    """A `Source` over an archive.

    Sample i is `array[i]` where the array has one axis more than the input, else `array[i:i+1]`. Arrays
    called `labels` and `groups` are no inputs, unless the model has inputs of that name; other arrays with
    as many rows are kept for metrics.

    Raises:
        DataError: Not an archive, pickled, arrays of different lengths, or a type or shape that the model
            does not take.
    """

    def __init__(
        self, path: Path, inputs: Sequence[TensorSpec], preprocess: Preprocess | None = None
    ) -> None:
        self._preprocess = preprocess or Preprocess()
        self.name = path.name
        self._members = members(path)
        self._inputs = {spec.name: spec for spec in inputs if spec.name in self._members}
        stat = path.stat()
        self.stamp: str | None = value_digest(
            "npz",
            str(path),
            stat.st_size,
            stat.st_mtime_ns,
            *([repr(preprocess)] if self._preprocess.arrays else []),
        )
        self.classes: tuple[str, ...] | None = None
        self._length = self._common_length()
        self.arrays = tuple(sorted(name for name in self._members if self._is_per_sample(name)))
        for spec in self._inputs.values():
            self._check(spec, self._members[spec.name])
        self.labels, self.groups = self._side("labels"), self._side("groups")

    def __len__(self) -> int:
        return self._length

    def read(self, indices: Array | None) -> Iterator[Feeds]:
        order = range(self._length) if indices is None else indices
        streams = [self._members[name].rows(indices) for name in self._inputs]
        # Without an input of its own the file still says how many samples there are.
        rows = zip(*streams, strict=True) if streams else (() for _ in order)
        for index, row in zip(order, rows, strict=True):
            where = f"sample {int(index)} of {self.name}"
            yield {
                spec.name: fit(spec, self._pixels(spec, value, where), where)
                for spec, value in zip(self._inputs.values(), row, strict=True)
            }

    def _pixels(self, spec: TensorSpec, value: Array, where: str) -> Array:
        whole = value if value.ndim == len(spec.shape) else value[None]
        if normalises(self._preprocess, spec, whole.dtype):
            return normalised(whole, self._preprocess, spec, where)
        return whole

    def levels(self) -> dict[str, Levels | str]:
        """See `Source`."""
        return {
            name: of_array(self._members[name].dtype, self._preprocess, spec)
            for name, spec in self._inputs.items()
        }

    def column(self, name: str, indices: Array) -> Array | None:
        member = self._members.get(name)
        if member is None:
            return None
        rows = list(self._numeric(member).rows(indices))
        return np.stack(rows) if rows else np.empty((0, *member.shape[1:]), member.dtype)

    def _common_length(self) -> int:
        sides = [name for name in ("labels", "groups") if name in self._members]
        names = list(self._inputs) or sides
        lengths = {name: (self._members[name].shape or (None,))[0] for name in names}
        for name, length in lengths.items():
            if length is None:
                raise DataError(f"{self.name}: the array {name!r} has no axis of samples")
        if len(set(lengths.values())) > 1:
            said = ", ".join(f"{name} has {length}" for name, length in lengths.items())
            raise DataError(f"{self.name}: the arrays differ in their number of samples: {said}")
        return next((length for length in lengths.values() if length is not None), 0)

    def _is_per_sample(self, name: str) -> bool:
        """False for what else may lie in the file: names of classes, say."""
        return name in self._inputs or not self._length or self._members[name].shape[:1] == (self._length,)

    def _check(self, spec: TensorSpec, member: Member) -> None:
        self._numeric(member)
        target = element_type(spec)
        if not castable(member.dtype, target):
            raise DataError(f"{self.name}: input {spec.name!r} takes {target}, the array is {member.dtype}")
        shape = member.shape[1:] if len(member.shape) == len(spec.shape) + 1 else (1, *member.shape[1:])
        if not shape_fits(spec, shape):
            raise DataError(
                f"{self.name}: the array {spec.name!r} has shape {list(member.shape)}, which gives samples "
                f"of shape {list(shape)}; the model takes {spec}",
                hint="the first axis counts the samples, each as the model takes it",
            )

    def _side(self, name: str) -> Array | None:
        if name in self._inputs or name not in self._members:
            return None
        return self._numeric(self._members[name]).whole()

    def _numeric(self, member: Member) -> Member:
        if member.dtype.hasobject:
            raise DataError(
                f"{self.name}: the array {member.name!r} is pickled, which is refused (it could run code)",
                hint="save numbers or fixed-width strings, not dtype=object",
            )
        if member.dtype.kind not in "biufU" or not member.dtype.itemsize:
            raise DataError(f"{self.name}: the array {member.name!r} is of type {member.dtype}")
        return member
