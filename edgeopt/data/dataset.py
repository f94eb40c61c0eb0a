"""A data set: real inputs of a model, streamed sample by sample and checked once.

A `Source` knows one form of storage (`npz.py`, `images.py`, `sounds.py`, `generator.py`);
`StreamedDataset` adds what all of them share: fixed inputs, the checks, the content digest, and a small
memory so that a data set that fits is decoded once.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Mapping, MutableMapping, Sequence
from typing import Protocol

import numpy as np

from edgeopt.core.digest import value_digest
from edgeopt.core.errors import DataError
from edgeopt.core.interface import Levels
from edgeopt.core.tensor import TensorSpec
from edgeopt.data.fit import Array
from edgeopt.data.fixed import fixed_feed
from edgeopt.data.levels import FIXED

Feeds = Mapping[str, Array]
"""One inference's inputs by name, in the model's types and shapes."""

MEMORY_BYTES = 128 << 20
"""A data set of up to this size, decoded, is kept in memory; a larger one is read again each time."""


class Source(Protocol):
    """One form of storage."""

    name: str
    """As messages call it (`faces.npz`)."""
    stamp: str | None
    """Changes when the stored bytes may have (sizes, times); None where that cannot be told."""
    arrays: tuple[str, ...]
    """The names of all there is, inputs of the model or not."""
    labels: Array | None
    groups: Array | None
    classes: tuple[str, ...] | None
    """The name of each label, where labels came from names."""

    def __len__(self) -> int: ...

    def read(self, indices: Array | None) -> Iterator[Feeds]:
        """The inputs that it holds, of each sample (all, or `indices` ascending)."""
        ...

    def column(self, name: str, indices: Array) -> Array | None:
        """The stored array `name` itself, first axis = samples; None where samples are not stored so."""
        ...

    def levels(self) -> Mapping[str, Levels | str]:
        """Of each input that it holds, the bytes that its values are made of, or why they are not."""
        ...


class Dataset(Protocol):
    """What the rest of edgeopt sees of data."""

    name: str
    digest: str
    """SHA-256 of what the model is fed, the labels and the groups, however they are stored."""
    labels: Array | None
    groups: Array | None
    classes: tuple[str, ...] | None

    def __len__(self) -> int: ...

    def samples(self, indices: Array | None = None) -> Iterator[Feeds]: ...

    def shapes(self) -> Mapping[str, tuple[int, ...]]: ...

    def columns(self) -> tuple[str, ...]: ...

    def column(self, name: str, indices: Array) -> Array: ...

    def levels(self) -> Mapping[str, Levels | str]: ...


class StreamedDataset:
    """A `Source`, checked against the model's inputs.

    Args:
        fixed: Values of inputs that the source does not hold.
        digests: The caller's memory of data sets that passed the checks, by stamp: a known one is not
            read through again. What is found is added.

    Raises:
        DataError: An input that nothing supplies, no samples, labels or groups of another length, or any
            sample that does not fit.
    """

    def __init__(
        self,
        source: Source,
        inputs: Sequence[TensorSpec],
        fixed: Mapping[str, Array],
        digests: MutableMapping[str, str] | None = None,
    ) -> None:
        self._source = source
        self.name, self.classes = source.name, source.classes
        self.labels, self.groups = source.labels, source.groups
        self._memory: dict[int, Feeds] = {}
        self._remembers: bool | None = None
        missing = [spec for spec in inputs if spec.name not in source.arrays]
        for spec in missing:
            if spec.name not in fixed:
                raise DataError(
                    f"{source.name} has no array for the model's input {spec.name!r}: it has "
                    f"{', '.join(source.arrays) or 'none'}; the inputs are {', '.join(map(str, inputs))}",
                    hint=f"name the arrays as the inputs, or say --fixed {spec.name}=VALUE|zeros",
                )
        self._fixed = {spec.name: fixed_feed(spec, fixed[spec.name]) for spec in missing}
        self._check_columns()
        self._shapes: dict[str, tuple[int, ...]] = {}
        self._shapes = {name: value.shape for name, value in next(self.samples(np.array([0]))).items()}
        self.digest = self._checked(inputs, digests if digests is not None else {})

    def __len__(self) -> int:
        return len(self._source)

    def shapes(self) -> Mapping[str, tuple[int, ...]]:
        """The shape of each input, the same for all samples: it settles what the model leaves open."""
        return self._shapes

    def samples(self, indices: Array | None = None) -> Iterator[Feeds]:
        """Inputs of each sample in ascending order, read-only.

        Args:
            indices: `(k,)`, ascending; None is all.
        """
        wanted = range(len(self)) if indices is None else [int(index) for index in indices]
        if all(index in self._memory for index in wanted):
            yield from (self._memory[index] for index in wanted)
            return
        for index, stored in zip(wanted, self._source.read(indices), strict=True):
            feeds = {**self._fixed, **stored}
            for name, value in feeds.items():
                if self._shapes and value.shape != self._shapes[name]:
                    raise DataError(
                        f"sample {index} of {self.name}: input {name!r} has shape {list(value.shape)}, "
                        f"the first sample {list(self._shapes[name])}: they must agree"
                    )
                value.setflags(write=False)
            if self._remember(stored):
                self._memory[index] = feeds
            yield feeds

    def columns(self) -> tuple[str, ...]:
        """Every name that `column` takes: the inputs, labels, groups, and what else is stored."""
        own = [name for name in ("labels", "groups") if getattr(self, name) is not None]
        return tuple(dict.fromkeys((*self._shapes, *self._source.arrays, *own)))

    def column(self, name: str, indices: Array) -> Array:
        """All values of one name, first axis = samples: what a metric of the user's may ask for."""
        if name in ("labels", "groups") and name not in self._shapes:
            return np.asarray(getattr(self, name))[indices]
        stored = self._source.column(name, indices) if name not in self._fixed else None
        return stored if stored is not None else np.stack([feeds[name] for feeds in self.samples(indices)])

    def levels(self) -> Mapping[str, Levels | str]:
        """Of each input, the bytes that its values are made of; or why they are not made of bytes."""
        return {**dict.fromkeys(self._fixed, FIXED), **self._source.levels()}

    def _remember(self, stored: Feeds) -> bool:
        if self._remembers is None:
            size = sum(value.nbytes for value in stored.values())
            self._remembers = size * len(self) <= MEMORY_BYTES
        return self._remembers

    def _check_columns(self) -> None:
        if not len(self):
            raise DataError(f"{self.name} holds no samples")
        for name in ("labels", "groups"):
            values = getattr(self, name)
            if values is None:
                continue
            if values.ndim == 0 or len(values) != len(self):
                raise DataError(
                    f"{self.name}: {counted(len(self), 'sample')}, but {name} of shape {list(values.shape)}"
                )
            if values.dtype.kind == "f" and not np.isfinite(values).all():
                raise DataError(f"{self.name}: {name} contain NaN or infinity")
        if self.groups is not None and self.groups.ndim != 1:
            raise DataError(f"{self.name}: groups must have one axis, not {self.groups.ndim}")

    def _checked(self, inputs: Sequence[TensorSpec], digests: MutableMapping[str, str]) -> str:
        fixed = {name: value.tolist() for name, value in self._fixed.items()}
        stamp = self._source.stamp and value_digest(self._source.stamp, [str(i) for i in inputs], fixed)
        if stamp is None or stamp not in digests:
            digest = self._content_digest()
            if stamp is None:
                return digest
            digests[stamp] = digest
        return digests[stamp]

    def _content_digest(self) -> str:
        content = hashlib.sha256()
        first = next(self.samples(np.array([0])))
        described = {name: (value.shape, str(value.dtype)) for name, value in first.items()}
        content.update(value_digest(len(self), described).encode())
        for name in sorted(self._fixed):
            content.update(_raw(self._fixed[name]))
        for values in (self.labels, self.groups):
            content.update(
                b"-" if values is None else f"{values.dtype}{values.shape}".encode() + values.tobytes()
            )
        for feeds in self.samples():
            for name in sorted(feeds.keys() - self._fixed.keys()):
                content.update(_raw(feeds[name]))
        return content.hexdigest()


def _raw(value: Array) -> memoryview:
    """The bytes of an array, not copied."""
    return np.ascontiguousarray(value).reshape(-1).view(np.uint8).data


def counted(count: int, noun: str) -> str:
    """`1 sample`, `2 samples`."""
    return f"{count} {noun}" if count == 1 else f"{count} {noun}s"
