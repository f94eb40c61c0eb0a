"""One array inside an `.npz`, read row by row: an archive of any size in bounded memory.

Source: numpy/lib/_format_impl.py (the `.npy` header) and the zip specification, APPNOTE 4.3.7 (the local
header: where the bytes of a stored member begin).
"""

from __future__ import annotations

import math
import struct
import zipfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

import numpy as np

from edgeopt.core.errors import DataError
from edgeopt.data.fit import Array

WHOLE_BYTES = 256 << 20
"""Arrays that cannot be streamed (labels, Fortran order) are read whole, up to this size."""
_SKIP_BYTES = 1 << 20
_LOCAL_HEADER_BYTES = 30


@contextmanager
def reading(path: Path) -> Iterator[None]:
    """Turns whatever a damaged archive makes the decoders raise into one `DataError`."""
    try:
        yield
    except DataError:
        raise
    except FileNotFoundError as error:
        raise DataError(f"{path} has gone") from error
    # zlib, lzma and bz2 errors, bad headers, encrypted members, lengths beyond all memory: a decoder may
    # raise nearly anything on bytes that nobody wrote on purpose.
    except Exception as error:
        raise DataError(f"{path} is damaged or not an .npz file ({error})") from error


@dataclass(frozen=True, slots=True)
class Member:
    """An array in an archive.

    Attributes:
        header_bytes: Length of the `.npy` header, before the first row.
    """

    path: Path
    entry: zipfile.ZipInfo
    name: str
    dtype: np.dtype[Any]
    shape: tuple[int, ...]
    fortran: bool
    header_bytes: int

    @property
    def row_bytes(self) -> int:
        return math.prod(self.shape[1:]) * self.dtype.itemsize

    def rows(self, indices: Array | None) -> Iterator[Array]:
        """Rows of the first axis, all or `indices` (ascending), each of shape `shape[1:]`.

        All rows are read through the archive, which verifies their checksum; some rows of an array that is
        stored as it is are read where they lie.

        Raises:
            DataError: The archive is damaged.
        """
        wanted = range(self.shape[0]) if indices is None else [int(index) for index in indices]
        if self.fortran:
            array = self.whole()
            yield from (array[index] for index in wanted)
        elif indices is not None and self.entry.compress_type == zipfile.ZIP_STORED:
            yield from self._in_place(wanted)
        else:
            yield from self._in_turn(wanted)

    def whole(self) -> Array:
        """The whole array.

        Raises:
            DataError: The archive is damaged, or the array is larger than `WHOLE_BYTES`.
        """
        if math.prod(self.shape) * self.dtype.itemsize > WHOLE_BYTES:
            raise DataError(
                f"{self.path}: the array {self.name!r} is too large to be read at once",
                hint="an array in Fortran order cannot be streamed: save numpy.ascontiguousarray(array)"
                if self.fortran
                else None,
            )
        with reading(self.path), zipfile.ZipFile(self.path) as archive, archive.open(self.entry) as stream:
            stream.read(self.header_bytes)
            data = self._exactly(stream, math.prod(self.shape) * self.dtype.itemsize)
        flat = np.frombuffer(data, self.dtype)
        return (
            np.ascontiguousarray(flat.reshape(self.shape[::-1]).T)
            if self.fortran
            else flat.reshape(self.shape)
        )

    def _in_place(self, wanted: range | list[int]) -> Iterator[Array]:
        with reading(self.path), self.path.open("rb") as stream:
            stream.seek(self.entry.header_offset)
            name_bytes, extra_bytes = struct.unpack_from("<HH", stream.read(_LOCAL_HEADER_BYTES), 26)
            start = self.entry.header_offset + _LOCAL_HEADER_BYTES + name_bytes + extra_bytes
            for index in wanted:
                stream.seek(start + self.header_bytes + index * self.row_bytes)
                yield self._row(stream)

    def _in_turn(self, wanted: range | list[int]) -> Iterator[Array]:
        with reading(self.path), zipfile.ZipFile(self.path) as archive, archive.open(self.entry) as stream:
            stream.read(self.header_bytes)
            position = 0
            for index in wanted:
                self._skip(stream, (index - position) * self.row_bytes)
                position = index + 1
                yield self._row(stream)

    def _skip(self, stream: IO[bytes], count: int) -> None:
        while count > 0:
            count -= len(self._exactly(stream, min(count, _SKIP_BYTES)))

    def _row(self, stream: IO[bytes]) -> Array:
        return np.frombuffer(self._exactly(stream, self.row_bytes), self.dtype).reshape(self.shape[1:])

    def _exactly(self, stream: IO[bytes], count: int) -> bytes:
        data = stream.read(count)
        if len(data) != count:
            raise DataError(f"{self.path}: the array {self.name!r} ends too early")
        return data


def members(path: Path) -> dict[str, Member]:
    """The arrays of an archive by name; only their headers are read.

    Raises:
        DataError: Not an `.npz`, or damaged.
    """
    with reading(path), zipfile.ZipFile(path) as archive:
        entries = {
            entry.filename.removesuffix(".npy"): entry
            for entry in archive.infolist()
            if entry.filename.endswith(".npy")
        }
        return {name: _member(path, archive, name, entry) for name, entry in entries.items()}


def _member(path: Path, archive: zipfile.ZipFile, name: str, entry: zipfile.ZipInfo) -> Member:
    # Lengths from a damaged directory would otherwise be allocated before a byte is read.
    if entry.header_offset + entry.compress_size > path.stat().st_size:
        raise DataError(f"{path} is cut off in the array {name!r}")
    with archive.open(entry) as stream:
        version = np.lib.format.read_magic(stream)
        if version == (1, 0):
            shape, fortran, dtype = np.lib.format.read_array_header_1_0(stream)
        elif version == (2, 0):
            shape, fortran, dtype = np.lib.format.read_array_header_2_0(stream)
        else:
            raise DataError(
                f"{path}: the array {name!r} is of .npy version {version}, which is not supported"
            )
        header_bytes = stream.tell()
    member = Member(path, entry, name, dtype, shape, fortran and len(shape) > 1, header_bytes)
    described = math.prod(shape) * dtype.itemsize
    if not dtype.hasobject and header_bytes + described != entry.file_size:
        raise DataError(f"{path}: the array {name!r} is not as long as its header says")
    return member
