"""Inputs and outputs as files: `.npz` archives whose arrays are named `SAMPLE_INDEX`.

Positions instead of names, because a tensor may be called anything, and a member of an archive may not.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from edgeopt.boards.board import Feeds

CHUNK_BYTES = 16 << 20
CHUNK_SAMPLES = 128


def write(path: Path, samples: Sequence[Feeds]) -> list[str]:
    """Store samples; returns the input names in the order of their positions."""
    names = sorted(samples[0])
    arrays = {
        f"{number}_{position}": _storable(sample[name])
        for number, sample in enumerate(samples)
        for position, name in enumerate(names)
    }
    with path.open("wb") as stream:
        np.savez(stream, **arrays)  # type: ignore[arg-type] # the stub mistakes arrays for allow_pickle
    return names


def read(path: Path) -> Iterator[list[NDArray[np.generic]]]:
    """The arrays of each sample, in order."""
    with np.load(path, allow_pickle=False) as arrays:
        keys = sorted(tuple(int(part) for part in key.split("_")) for key in arrays.files)
        sample: list[NDArray[np.generic]] = []
        for number, position in keys:
            if position == 0 and sample:
                yield sample
                sample = []
            sample.append(arrays[f"{number}_{position}"])
        if sample:
            yield sample


def chunks(samples: Iterable[Feeds]) -> Iterator[list[Feeds]]:
    """Groups of at most 16 MiB and 128 samples: they fit a board's memory, and its link in reasonable time.

    A larger sample is a group of its own.
    """
    group: list[Feeds] = []
    size_bytes = 0
    for sample in samples:
        more_bytes = sum(array.nbytes for array in sample.values())
        if group and (size_bytes + more_bytes > CHUNK_BYTES or len(group) == CHUNK_SAMPLES):
            yield group
            group, size_bytes = [], 0
        group.append(sample)
        size_bytes += more_bytes
    if group:
        yield group


def digest(feeds: Feeds) -> str:
    """SHA-256 of one inference's inputs."""
    content = hashlib.sha256()
    for name in sorted(feeds):
        value = _storable(feeds[name])
        content.update(f"{name} {value.dtype} {value.shape}".encode())
        content.update(value.tobytes())
    return content.hexdigest()


def _storable(array: NDArray[np.generic]) -> NDArray[np.generic]:
    """Strings travel as fixed-width text: an array of objects would need pickling."""
    return array.astype(str) if array.dtype == object else array
