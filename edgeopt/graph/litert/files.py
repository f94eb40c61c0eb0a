"""Reads what a LiteRT file takes and gives, without the runtime: hosts need not have it."""

from __future__ import annotations

import hashlib
import struct
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import NoReturn

from edgeopt.core.errors import ConfigError, ModelError
from edgeopt.core.tensor import TensorSpec
from edgeopt.runtimes.litert import IDENTIFIER, SCHEMA

SUFFIX = ".tflite"

_DTYPES = {
    0: "float32", 1: "float16", 2: "int32", 3: "uint8", 4: "int64", 6: "bool", 7: "int16", 9: "int8",
    10: "float64", 12: "uint64", 15: "uint32", 16: "uint16",
}  # fmt: skip
"""Of `TensorType`; Source: TensorFlow Lite's schema, version 3 (tables and their fields by number)."""


@dataclass(frozen=True, slots=True)
class LiteRtModel:
    """A LiteRT file, as far as edgeopt looks into it.

    Attributes:
        path: The file, absolute.
        digest: SHA-256 of its bytes.
        inputs: Of its first graph, in order.
        outputs: Of its first graph, in order.
    """

    path: Path
    digest: str
    inputs: tuple[TensorSpec, ...]
    outputs: tuple[TensorSpec, ...]


def load(path: Path) -> LiteRtModel:
    """Read a LiteRT file that nobody vouches for.

    Raises:
        ConfigError: There is no such file.
        ModelError: It is no LiteRT file, or a damaged one.
    """
    try:
        content = path.read_bytes()
    except (FileNotFoundError, NotADirectoryError) as error:
        raise ConfigError(f"no such model file: {path}") from error
    except OSError as error:
        raise ModelError(f"{path} cannot be read: {error.strerror}") from error
    inputs, outputs = interface(content, str(path))
    return LiteRtModel(path.absolute(), hashlib.sha256(content).hexdigest(), inputs, outputs)


def freeze(model: LiteRtModel, shapes: Mapping[str, tuple[int, ...]]) -> LiteRtModel:
    """The model with its open sizes settled.

    Raises:
        ModelError: `shapes` leaves one open, or contradicts the model.
    """
    inputs = tuple(_sized(spec, shapes.get(spec.name, spec.shape)) for spec in model.inputs)
    return replace(model, inputs=inputs)


def _sized(spec: TensorSpec, shape: tuple[int | None, ...]) -> TensorSpec:
    fits = len(shape) == len(spec.shape) and all(
        known is None or known == size for known, size in zip(spec.shape, shape, strict=True)
    )
    if not fits:
        raise ModelError(f"input {spec} cannot be {list(shape)}")
    if None in shape:
        raise ModelError(f"input {spec} has open sizes", hint=f"give --shape {spec.name}=N,… with numbers")
    return replace(spec, shape=shape)


def interface(content: bytes, name: str) -> tuple[tuple[TensorSpec, ...], tuple[TensorSpec, ...]]:
    """Inputs and outputs of the first graph of a file.

    Raises:
        ModelError: It is no LiteRT file, or a damaged one.
    """
    if content[4:8] != IDENTIFIER:
        raise ModelError(f"{name} is not a LiteRT file")
    try:
        model = _Table(content, _offset(content, 0))
        if model.scalar(0, "<I") != SCHEMA:
            _damaged(name)
        graph = model.tables(2)[0]
        tensors = graph.tables(0)
        inputs, outputs = (tuple(_spec(tensors[i], name) for i in graph.integers(field)) for field in (1, 2))
    except (struct.error, IndexError, UnicodeDecodeError) as error:
        raise ModelError(f"{name} is a damaged LiteRT file") from error
    return inputs, outputs


def _damaged(name: str) -> NoReturn:
    raise ModelError(f"{name} is a damaged LiteRT file")


def _spec(tensor: _Table, name: str) -> TensorSpec:
    kind = tensor.scalar(1, "<b")
    if kind not in _DTYPES:
        raise ModelError(f"{name} has an input or output of type {kind}, which edgeopt cannot feed")
    sizes = tensor.integers(7) or tensor.integers(0)
    return TensorSpec(tensor.text(3), _DTYPES[kind], tuple(None if size < 0 else size for size in sizes))


class _Table:
    """A table of a FlatBuffer: fields by number, each checked to lie in the file.

    Source: FlatBuffers' internals, "Tables": a signed offset back to the vtable, which has its own size, the
        table's, and the fields' places in it (0 where a field is left out).
    """

    def __init__(self, content: bytes, at: int) -> None:
        self._content, self._at = content, at
        self._vtable = at - struct.unpack_from("<i", content, at)[0]
        if self._vtable < 0:
            raise IndexError
        self._size = struct.unpack_from("<H", content, self._vtable)[0]

    def scalar(self, field: int, form: str) -> int:
        place = self._place(field)
        return int(struct.unpack_from(form, self._content, place)[0]) if place else 0

    def integers(self, field: int) -> list[int]:
        start, count = self._vector(field)
        return list(struct.unpack_from(f"<{count}i", self._content, start))

    def tables(self, field: int) -> list[_Table]:
        start, count = self._vector(field)
        places = (start + 4 * number for number in range(self._bounded(start, count)))
        return [_Table(self._content, place + _offset(self._content, place)) for place in places]

    def text(self, field: int) -> str:
        start, count = self._vector(field)
        return self._content[start : start + self._bounded(start, count, 1)].decode()

    def _place(self, field: int) -> int:
        entry = 4 + 2 * field
        if entry + 2 > self._size:
            return 0
        distance = struct.unpack_from("<H", self._content, self._vtable + entry)[0]
        return self._at + distance if distance else 0

    def _vector(self, field: int) -> tuple[int, int]:
        """Where the first element is, and how many there are."""
        place = self._place(field)
        if not place:
            return 0, 0
        at = place + _offset(self._content, place)
        return at + 4, _offset(self._content, at)

    def _bounded(self, start: int, count: int, size: int = 4) -> int:
        if start + count * size > len(self._content):
            raise IndexError
        return count


def _offset(content: bytes, at: int) -> int:
    return int(struct.unpack_from("<I", content, at)[0])
