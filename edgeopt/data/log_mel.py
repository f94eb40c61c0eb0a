"""Log-mel spectrograms."""

from __future__ import annotations

from functools import cache

import numpy as np

from edgeopt.data.fit import Array
from edgeopt.data.preprocess import LogMel

# Added to the power before the logarithm: silence is about -13.8, not minus infinity.
_FLOOR = 1e-6


def window_samples(mel: LogMel, rate_hz: int) -> tuple[int, int]:
    """Window and hop in samples, each at least one."""
    return max(1, round(mel.window_ms * rate_hz / 1e3)), max(1, round(mel.hop_ms * rate_hz / 1e3))


def samples_of_frames(frames: int, mel: LogMel, rate_hz: int) -> int:
    """How many samples give exactly `frames` frames: no padding at the ends."""
    window, hop = window_samples(mel, rate_hz)
    return (frames - 1) * hop + window


def log_mel(wave: Array, mel: LogMel, rate_hz: int) -> Array:
    """The natural logarithm of the mel power, `(bands, frames)` float32.

    Frames begin every hop and are as long as the window (periodic Hann; the FFT is the next power of two);
    triangular bands lie evenly on the mel scale from 0 to half the rate.

    Args:
        wave: `(samples,)`, at least one window.

    Source: mel scale 2595 log10(1 + f / 700), O'Shaughnessy, Speech Communication, 1987, p. 150.
    """
    window, hop = window_samples(mel, rate_hz)
    frames = np.lib.stride_tricks.sliding_window_view(wave, window)[::hop]
    taper = 0.5 - 0.5 * np.cos(2 * np.pi * np.arange(window) / window)
    size = 1 << max(1, (window - 1).bit_length())
    power = np.abs(np.fft.rfft(frames * taper, size)) ** 2
    bands = np.log(power @ _filters(mel.bands, size, rate_hz).T + _FLOOR)
    result: Array = np.ascontiguousarray(bands.T, dtype=np.float32)
    return result


@cache
def _filters(bands: int, size: int, rate_hz: int) -> Array:
    """Triangles `(bands, size // 2 + 1)` of height 1."""
    top = 2595 * np.log10(1 + rate_hz / 2 / 700)
    edges = 700 * (10 ** (np.linspace(0, top, bands + 2) / 2595) - 1)
    bins = np.arange(size // 2 + 1) * rate_hz / size
    low, middle, high = edges[:-2, None], edges[1:-1, None], edges[2:, None]
    rising, falling = (bins - low) / (middle - low), (high - bins) / (high - middle)
    triangles: Array = np.maximum(0, np.minimum(rising, falling))
    return triangles
