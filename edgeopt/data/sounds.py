"""Data from a folder of WAV files."""

from __future__ import annotations

import math
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import soundfile

from edgeopt.core.digest import value_digest
from edgeopt.core.errors import DataError
from edgeopt.core.interface import Levels
from edgeopt.core.tensor import TensorSpec
from edgeopt.data.dataset import Feeds
from edgeopt.data.fit import Array, fit
from edgeopt.data.folder import Folder
from edgeopt.data.levels import SOUND
from edgeopt.data.log_mel import log_mel, samples_of_frames
from edgeopt.data.preprocess import Preprocess


class Sounds:
    """A `Source` over WAV files, for one input of the model.

    Each is decoded to float32 in [-1, 1], resampled, padded with silence or cut to the input's length, and
    reshaped to the input's shape. Where the input's length is open, the files must be of one length.

    Raises:
        DataError: A first file that cannot be read.
    """

    def __init__(self, folder: Folder, spec: TensorSpec, preprocess: Preprocess) -> None:
        self.name = folder.path.name
        self.labels, self.groups, self.classes = folder.labels, folder.groups, folder.classes
        self.stamp: str | None = value_digest(folder.stamp, repr(preprocess))
        self.arrays: tuple[str, ...] = (spec.name,)
        self._files, self._spec, self._preprocess = folder.files, spec, preprocess
        self._rate_hz = preprocess.sample_rate or decode(folder.files[0], mono=True)[1]

    def __len__(self) -> int:
        return len(self._files)

    def read(self, indices: Array | None) -> Iterator[Feeds]:
        for index in range(len(self)) if indices is None else indices:
            file = self._files[int(index)]
            yield {self._spec.name: fit(self._spec, self._value(file), str(file))}

    def column(self, name: str, indices: Array) -> Array | None:  # noqa: ARG002 - files hold no arrays
        return None

    def levels(self) -> dict[str, Levels | str]:
        """See `Source`."""
        return {self._spec.name: SOUND}

    def _value(self, file: Path) -> Array:
        wave, rate_hz = decode(file, self._preprocess.mono)
        if rate_hz != self._rate_hz:
            if self._preprocess.sample_rate is None:
                raise DataError(
                    f"{file} has {rate_hz} Hz, the first file {self._rate_hz} Hz",
                    hint="say the model's rate: sample_rate in [data.preprocess]",
                )
            wave = resampled(wave, rate_hz, self._rate_hz)
        if self._preprocess.log_mel:
            value = self._spectrogram(wave, file)
        else:
            value = _of_length(wave, self._length(wave.shape[0]))
        if self._preprocess.is_scaled:
            value = self._normalised(value, file)
        return self._shaped(value)

    def _length(self, channels: int) -> int | None:
        """Samples per channel that the input takes; None where it leaves that open."""
        if not self._spec.is_static:
            return None
        return max(1, math.prod(size for size in self._spec.shape if size) // channels)

    def _spectrogram(self, wave: Array, file: Path) -> Array:
        mel = self._preprocess.log_mel
        assert mel is not None  # noqa: S101 - for the type checker
        if wave.shape[0] != 1:
            raise DataError(f"{file}: log_mel takes one channel, mono = false gives {wave.shape[0]}")
        size = self._length(1)
        if size is not None and size % mel.bands:
            raise DataError(f"log_mel gives {mel.bands} bands, which do not divide the input {self._spec}")
        frames = None if size is None else size // mel.bands
        wanted = None if frames is None else samples_of_frames(frames, mel, self._rate_hz)
        least = samples_of_frames(1, mel, self._rate_hz)
        wave = _of_length(wave, wanted if wanted is not None else max(least, wave.shape[1]))
        bands = log_mel(wave[0], mel, self._rate_hz)
        bands_last = self._spec.shape[-1:] == (mel.bands,) and self._spec.shape[-2:] != (mel.bands, mel.bands)
        return np.ascontiguousarray(bands.T) if bands_last else bands

    def _normalised(self, value: Array, file: Path) -> Array:
        if len(self._preprocess.mean) > 1 or len(self._preprocess.std) > 1:
            raise DataError(f"{file}: mean and std of a sound are one value each")
        scaled = value * np.float32(self._preprocess.scale) - np.float32(self._preprocess.mean[0])
        return np.asarray(scaled / np.float32(self._preprocess.std[0]), dtype=np.float32)

    def _shaped(self, value: Array) -> Array:
        """`value` in the input's shape: the last open size takes what there is, other open sizes are 1."""
        shape = list(self._spec.shape)
        for axis in reversed(range(len(shape))):
            if shape[axis] is None:
                rest = math.prod(size for size in shape if size)
                shape[axis] = 1 if None in shape[axis + 1 :] else max(1, value.size // max(1, rest))
        sizes = [size or 0 for size in shape]
        # What cannot be reshaped is refused by `fit`, which names the file and both shapes.
        return value.reshape(sizes) if math.prod(sizes) == value.size else value


def decode(file: Path, mono: bool) -> tuple[Array, int]:
    """A WAV file as float32 `(channels, samples)` in [-1, 1], and its rate in Hz.

    Raises:
        DataError: Unreadable, or empty.
    """
    try:
        wave, rate_hz = soundfile.read(file, dtype="float32", always_2d=True)
    except (soundfile.SoundFileError, OSError, ValueError, TypeError) as error:
        raise DataError(f"{file} cannot be read as a WAV file ({error})") from error
    if not len(wave):
        raise DataError(f"{file} holds no samples")
    channels = wave.mean(axis=1, keepdims=True) if mono else wave
    return np.ascontiguousarray(channels.T, dtype=np.float32), int(rate_hz)


def resampled(wave: Array, rate_hz: int, target_hz: int) -> Array:
    """`wave` `(channels, samples)` at another rate, polyphase with scipy's default filter."""
    from scipy.signal import resample_poly

    common = math.gcd(rate_hz, target_hz)
    converted = resample_poly(wave, target_hz // common, rate_hz // common, axis=1)
    return np.asarray(converted, dtype=np.float32)


def _of_length(wave: Array, length: int | None) -> Array:
    if length is None:
        return wave
    wave = wave[:, :length]
    return np.pad(wave, ((0, 0), (0, length - wave.shape[1])))
