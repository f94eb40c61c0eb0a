"""Weights in blocks of few bits: real = scale * (level - 2^(bits - 1)), one scale per block of a row.

Source: ONNX Runtime ContribOperators, MatMulNBits and GatherBlockQuantized.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from edgeopt.graph.precision._arithmetic import Floats

BLOCK = 32
"""Values per scale: what every kernel of the runtime takes; a scale adds one bit per value."""

_SHRUNK = (1.0, 0.94, 0.88, 0.82, 0.76)
"""Shares of a block's range that are tried in 4 bits: clipping its largest value may round the others
better."""


def quantize_rows(rows: Floats, bits: int, block: int = BLOCK) -> tuple[NDArray[np.uint8], Floats]:
    """Levels in [0, 2^bits) and scales of the rows of a matrix.

    The largest value of a block in magnitude gets the lowest level, which symmetric levels would leave
    unused.

    Args:
        rows: (N, K), finite.

    Returns:
        Levels (N, ceil(K / block), block), padded with the level of zero, and scales (N, ceil(K / block)).
    """
    count, width = rows.shape
    blocks = -(-width // block)
    padded = np.zeros((count, blocks * block), np.float32)
    padded[:, :width] = rows
    values = padded.reshape(count, blocks, block)
    zero = 2 ** (bits - 1)
    extreme = np.take_along_axis(values, np.abs(values).argmax(axis=2)[..., None], axis=2)[..., 0]
    full = np.where(np.abs(extreme) < np.finfo(np.float32).tiny * zero, np.float32(1), extreme / -zero)
    best, levels, least = full, _levels(values, full, zero), np.full(full.shape, np.inf, np.float32)
    for share in _SHRUNK if bits < 8 else ():
        scale = (full * np.float32(share)).astype(np.float32)
        tried = _levels(values, scale, zero)
        error = np.square((tried.astype(np.float32) - zero) * scale[..., None] - values).sum(axis=2)
        better = error < least
        least, best = np.where(better, error, least), np.where(better, scale, best)
        levels = np.where(better[..., None], tried, levels)
    return levels, best.astype(np.float32)


def packed(levels: NDArray[np.uint8], bits: int) -> NDArray[np.uint8]:
    """The last axis in bytes: two levels of 4 bits in each, the earlier one in the lower half."""
    if bits == 8:
        return levels
    pairs: NDArray[np.uint8] = levels[..., 0::2] | np.left_shift(levels[..., 1::2], 4, dtype=np.uint8)
    return pairs


def _levels(values: Floats, scale: Floats, zero: int) -> NDArray[np.uint8]:
    levels: NDArray[np.uint8] = np.clip(np.rint(values / scale[..., None]) + zero, 0, 2 * zero - 1).astype(
        np.uint8
    )
    return levels
