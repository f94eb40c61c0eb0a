"""Keeps the original's answers: in memory while they are small, on disk when they are not."""

from __future__ import annotations

import tempfile
import weakref
from collections.abc import Iterator
from typing import IO

import numpy as np

from edgeopt.data.metric import Answer

MEMORY_BYTES = 128 << 20


class Answers:
    """Appended once, read many times; beyond `limit_bytes` the rest goes to an unnamed temporary file."""

    def __init__(self, limit_bytes: int = MEMORY_BYTES) -> None:
        self._limit_bytes = limit_bytes
        self._kept: list[Answer] = []
        self._spilled: list[tuple[int, int]] = []
        self._file: IO[bytes] | None = None

    def __len__(self) -> int:
        return len(self._kept) + len(self._spilled)

    def append(self, answer: Answer) -> None:
        size = sum(array.nbytes for array in answer)
        if self._file is None and size <= self._limit_bytes:
            self._limit_bytes -= size
            # Copied: a runtime may give out views of buffers that it fills again.
            self._kept.append(tuple(np.array(array) for array in answer))
            return
        if self._file is None:
            self._file = tempfile.TemporaryFile(prefix="edgeopt-")  # noqa: SIM115 - lives as long as this
            weakref.finalize(self, self._file.close)
        self._spilled.append((self._file.seek(0, 2), len(answer)))
        for array in answer:
            np.lib.format.write_array(self._file, array, allow_pickle=False)

    def __iter__(self) -> Iterator[Answer]:
        return (self[index] for index in range(len(self)))

    def __getitem__(self, index: int) -> Answer:
        if index < len(self._kept):
            return self._kept[index]
        start, count = self._spilled[index - len(self._kept)]
        assert self._file is not None  # noqa: S101 - it exists once anything was spilled
        self._file.seek(start)
        return tuple(np.lib.format.read_array(self._file, allow_pickle=False) for _ in range(count))
