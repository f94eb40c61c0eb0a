"""What is uploaded to a board: of a model whose variants are there, only what is new in it."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

from edgeopt.core.digest import CHUNK_BYTES, file_digest
from edgeopt.core.pieces import Piece, pieces
from edgeopt.core.scratch import scratch

LEAST_SAVED = 0.25
"""Share of a file that must be on the board already: assembling has a price, too."""

Part = tuple[str, int, int]
"""Where a part of a file lies on the board: name of the object, offset and length in bytes."""


@dataclass(frozen=True, slots=True)
class Assembly:
    """Files as put together from what the board has and from one new file.

    Attributes:
        new: What it lacks.
        sha256: Of `new`.
        parts: By the SHA-256 of each file, the parts that it consists of, in order.
    """

    new: Path
    sha256: str
    parts: dict[str, list[Part]]


class Uploads:
    """Which weights are on a board, as far as this connection knows.

    What is remembered may have gone meanwhile: the board says so when it is to be used (`forget`).
    """

    def __init__(self) -> None:
        self._where: dict[bytes, tuple[str, int]] = {}
        self._noted: set[str] = set()
        self._read: dict[str, list[Piece]] = {}
        """Of files that are on their way: they are not read again when they have arrived."""

    def note(self, sha256: str, path: Path) -> None:
        """A file is on the board."""
        if sha256 in self._noted:
            return
        self._noted.add(sha256)
        for piece in self._read.pop(sha256, None) or pieces(path):
            self._where.setdefault(piece.digest, (sha256, piece.offset))

    def forget(self) -> None:
        """Nothing is known of the board any more."""
        self._where.clear()
        self._noted.clear()

    @contextmanager
    def assembly(self, files: Mapping[str, Path]) -> Iterator[Assembly | None]:
        """How to make files on the board, given by SHA-256; None: too little of them is there.

        Raises:
            OSError: A file cannot be read, or there is no room for what is new in it.
        """
        self._read = {whole: pieces(path) for whole, path in files.items()}
        found = (piece for some in self._read.values() for piece in some)
        saved = sum(piece.length for piece in found if piece.digest in self._where)
        if not saved or saved < LEAST_SAVED * sum(path.stat().st_size for path in files.values()):
            yield None
            return
        with scratch() as folder:
            new = folder / "new"
            parts = self._written(files, new)
            sha256 = file_digest(new)
            named = {
                whole: [(name or sha256, at, size) for name, at, size in some]
                for whole, some in parts.items()
            }
            yield Assembly(new, sha256, named)

    def _written(self, files: Mapping[str, Path], new: Path) -> dict[str, list[Part]]:
        """The parts of files; those without a name are written to `new`."""
        parts: dict[str, list[Part]] = {}
        with new.open("wb") as target:
            for whole, path in files.items():
                some = parts[whole] = []
                with path.open("rb") as source:
                    at = 0
                    for piece in self._read[whole]:
                        if piece.digest in self._where:
                            some += _copied(source, at, piece.offset, target)
                            some.append((*self._where[piece.digest], piece.length))
                            at = piece.offset + piece.length
                    some += _copied(source, at, path.stat().st_size, target)
        return parts


def _copied(source: BinaryIO, start: int, end: int, target: BinaryIO) -> list[Part]:
    """Append a range of one file to another; the part that it is there, unless it is empty."""
    if start == end:
        return []
    part = ("", target.tell(), end - start)
    source.seek(start)
    while start < end:
        chunk = source.read(min(end - start, CHUNK_BYTES))
        if not chunk:
            raise OSError(f"{source.name} became shorter while it was read")
        start += target.write(chunk)
    return [part]
