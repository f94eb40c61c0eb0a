"""Histograms of float32 values whose buckets do not depend on the values' range: one pass over data is
enough.

A bucket is a bfloat16 number: the upper 16 bits of a float32, so it spans at most 1/128 of its value, and
histograms of any samples add up. Only buckets that are not empty are kept, a few kilobytes per tensor.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]

_BUCKETS = 1 << 16


@dataclass(frozen=True, slots=True)
class Histogram:
    """How often values fell into each bucket.

    Attributes:
        buckets: uint16 numbers of those that are not empty, ascending, as bytes.
        counts: uint64, one for each of them, as bytes.
    """

    buckets: bytes
    counts: bytes

    def intervals(self) -> tuple[Floats, Floats, Floats]:
        """Lower and upper ends of the buckets, in the order of their values, and their counts.

        What is closer to zero than the smallest normal number counts as zero.
        """
        numbers = np.frombuffer(self.buckets, np.uint16).astype(np.uint32)
        counts = np.frombuffer(self.counts, np.uint64).astype(np.float64)
        magnitudes = numbers & 0x7FFF
        inner = (magnitudes << 16).view(np.float32).astype(np.float64)
        outer = ((magnitudes << 16) | 0xFFFF).view(np.float32).astype(np.float64)
        zero = magnitudes < 0x0080
        inner[zero] = outer[zero] = 0.0
        negative = numbers >= 0x8000
        low, high = np.where(negative, -outer, inner), np.where(negative, -inner, outer)
        order = np.argsort(low, kind="stable")
        return low[order], high[order], counts[order]


class Tally:
    """Adds values up to a `Histogram`."""

    def __init__(self) -> None:
        self._buckets = np.zeros(0, np.uint16)
        self._counts = np.zeros(0, np.uint64)

    def add(self, values: NDArray[Any]) -> None:
        """Count finite float32 values of any shape."""
        numbers = np.ascontiguousarray(values, np.float32).reshape(-1).view(np.uint32) >> 16
        found = np.bincount(numbers, minlength=_BUCKETS)
        found[self._buckets] += self._counts.astype(np.int64)
        self._buckets = np.flatnonzero(found).astype(np.uint16)
        self._counts = found[self._buckets].astype(np.uint64)

    def histogram(self) -> Histogram:
        return Histogram(self._buckets.tobytes(), self._counts.tobytes())
