"""Where the weights lie in a model's file: two variants of a model share most of them, byte for byte."""

from __future__ import annotations

import hashlib
import mmap
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

LEAST_BYTES = 4096
"""Smaller weights are not worth an entry of their own."""

_VARINT, _FIXED64, _BYTES, _FIXED32 = 0, 1, 2, 5
"""Wire types. Source: protobuf's encoding guide."""

_GRAPH, _INITIALIZER, _RAW_DATA = 7, 5, 9
"""Numbers of ModelProto.graph, GraphProto.initializer and TensorProto.raw_data. Source: onnx.proto."""


@dataclass(frozen=True, slots=True)
class Piece:
    """One weight's bytes in a file.

    Attributes:
        digest: SHA-256 of the bytes.
        offset: Of the first byte in the file.
        length: In bytes.
    """

    digest: bytes
    offset: int
    length: int


def pieces(path: Path) -> list[Piece]:
    """The weights of an ONNX file of at least `LEAST_BYTES`, in the order of the file.

    None are found in a file of another format: it has none that could be told apart.

    Raises:
        OSError: The file cannot be read.
    """
    with path.open("rb") as stream:
        if not path.stat().st_size:
            return []
        with mmap.mmap(stream.fileno(), 0, access=mmap.ACCESS_READ) as content:
            try:
                spans = [
                    span
                    for graph in _fields(content, (0, len(content)), _GRAPH)
                    for tensor in _fields(content, graph, _INITIALIZER)
                    for span in _fields(content, tensor, _RAW_DATA)
                ]
            except ValueError:
                return []
            view = memoryview(content)
            try:
                return [
                    Piece(hashlib.sha256(view[start:end]).digest(), start, end - start)
                    for start, end in spans
                    if end - start >= LEAST_BYTES
                ]
            finally:
                view.release()


def _fields(content: mmap.mmap, span: tuple[int, int], wanted: int) -> Iterator[tuple[int, int]]:
    """Where the values of one length-delimited field of a message lie.

    Raises:
        ValueError: It is no message.
    """
    at, end = span
    while at < end:
        key, at = _varint(content, at, end)
        number, kind = key >> 3, key & 7
        if kind == _BYTES:
            length, at = _varint(content, at, end)
            if number == wanted and at + length <= end:
                yield at, at + length
        elif kind == _VARINT:
            length, at = 0, _varint(content, at, end)[1]
        elif kind in (_FIXED64, _FIXED32):
            length = 8 if kind == _FIXED64 else 4
        else:
            raise ValueError(f"wire type {kind}")
        at += length
        if at > end:
            raise ValueError("a field is longer than its message")


def _varint(content: mmap.mmap, at: int, end: int) -> tuple[int, int]:
    """A number and where the next thing begins."""
    value = shift = 0
    while at < end and shift < 64:
        byte = content[at]
        value |= (byte & 0x7F) << shift
        at, shift = at + 1, shift + 7
        if byte < 0x80:
            return value, at
    raise ValueError("a number does not end")
