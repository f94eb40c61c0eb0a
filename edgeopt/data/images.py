"""Data from a folder of images."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np
from PIL import Image

from edgeopt.core.digest import value_digest
from edgeopt.core.errors import DataError
from edgeopt.core.interface import Levels
from edgeopt.core.tensor import TensorSpec
from edgeopt.data.dataset import Feeds
from edgeopt.data.fit import Array, fit
from edgeopt.data.folder import Folder
from edgeopt.data.levels import of_pixels
from edgeopt.data.preprocess import Preprocess

# More than 8 bits a channel would be clipped to white without a word.
_DEEP_MODES = ("I", "F")


class Images:
    """A `Source` over image files, for one input of the model."""

    def __init__(self, folder: Folder, spec: TensorSpec, preprocess: Preprocess) -> None:
        self.name = folder.path.name
        self.labels, self.groups, self.classes = folder.labels, folder.groups, folder.classes
        self.stamp: str | None = value_digest(folder.stamp, repr(preprocess))
        self.arrays: tuple[str, ...] = (spec.name,)
        self._files, self._spec, self._preprocess = folder.files, spec, preprocess

    def __len__(self) -> int:
        return len(self._files)

    def read(self, indices: Array | None) -> Iterator[Feeds]:
        for index in range(len(self)) if indices is None else indices:
            file = self._files[int(index)]
            value = image_array(decode(file, self._color()), self._preprocess, self._layout(), str(file))
            yield {self._spec.name: fit(self._spec, _with_rank(value, len(self._spec.shape)), str(file))}

    def column(self, name: str, indices: Array) -> Array | None:  # noqa: ARG002 - files hold no arrays
        return None

    def levels(self) -> dict[str, Levels | str]:
        """See `Source`."""
        return {self._spec.name: of_pixels(self._preprocess, self._spec, self._layout())}

    def _layout(self) -> str:
        if self._preprocess.layout:
            return self._preprocess.layout
        shape = self._spec.shape
        channels_last = len(shape) >= 3 and shape[-1] in (1, 3) and shape[-3] not in (1, 3)
        return "NHWC" if channels_last else "NCHW"

    def _color(self) -> str:
        if self._preprocess.color:
            return self._preprocess.color
        shape = self._spec.shape
        if len(shape) < 3:
            return "gray"
        return "gray" if shape[-1 if self._layout() == "NHWC" else -3] == 1 else "rgb"


def decode(file: Path, color: str) -> Image.Image:
    """An image in 8-bit gray or RGB.

    Raises:
        DataError: Unreadable, or of more than 8 bits a channel.
    """
    try:
        with Image.open(file) as image:
            if image.mode.split(";")[0] in _DEEP_MODES:
                raise DataError(f"{file}: images of more than 8 bits a channel are not supported")
            return image.convert("L" if color == "gray" else "RGB")
    except DataError:
        raise
    # Pillow's decoders raise nearly anything on damaged bytes (OSError, SyntaxError, struct.error, ...).
    except Exception as error:
        raise DataError(f"{file} cannot be read as an image ({error})") from error


def image_array(image: Image.Image, preprocess: Preprocess, layout: str, where: str) -> Array:
    """Resize, crop, scale and normalise; `(C, H, W)` for layout NCHW, `(H, W, C)` for NHWC.

    Still uint8 where nothing scales, else float32.

    Raises:
        DataError: Smaller than the crop, or mean or std for another number of channels.
    """
    if preprocess.resize:
        height, width = preprocess.resize
        image = image.resize((width, height), Image.Resampling.BILINEAR)
    pixels: Array = np.asarray(image)
    pixels = pixels[:, :, None] if pixels.ndim == 2 else pixels
    if preprocess.crop:
        height, width = preprocess.crop
        top, left = (pixels.shape[0] - height) // 2, (pixels.shape[1] - width) // 2
        if top < 0 or left < 0:
            size = f"{pixels.shape[0]} x {pixels.shape[1]}"
            raise DataError(f"{where} is {size}, smaller than the crop of {height} x {width}")
        pixels = pixels[top : top + height, left : left + width]
    if preprocess.is_scaled:
        for key, values in (("mean", preprocess.mean), ("std", preprocess.std)):
            if len(values) not in (1, pixels.shape[2]):
                raise DataError(f"{where} has {pixels.shape[2]} channels, {key} is given for {len(values)}")
        mean, std = (np.asarray(v, dtype=np.float32) for v in (preprocess.mean, preprocess.std))
        pixels = (pixels.astype(np.float32) * np.float32(preprocess.scale) - mean) / std
    return pixels.transpose(2, 0, 1) if layout == "NCHW" else pixels


def _with_rank(value: Array, rank: int) -> Array:
    """Add the batch axis, or drop the only channel, as the input's number of axes asks."""
    if rank == 4:
        return value[None]
    if rank == 2 and 1 in (value.shape[0], value.shape[-1]):
        return value[0] if value.shape[0] == 1 else value[..., 0]
    return value
