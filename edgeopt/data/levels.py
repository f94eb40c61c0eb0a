"""Which bytes an input's values are made of: images are stored in 8 bits, and so are uint8 arrays."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from edgeopt.core.errors import DataError
from edgeopt.core.interface import Levels
from edgeopt.core.tensor import TensorSpec
from edgeopt.data.fit import Array, element_type
from edgeopt.data.preprocess import Preprocess

SOUND = "sounds are not stored in bytes, but in 16 bits a sample or more"
FIXED = "its value is fixed"


def of_pixels(preprocess: Preprocess, spec: TensorSpec, layout: str) -> Levels | str:
    """What the bytes of pixels stand for after scale, mean and std; or why it is not known.

    Args:
        spec: The input; its channels are on the last axis for layout NHWC, else on the third last.
    """
    if not preprocess.scale:
        return "[data.preprocess] scale is 0"
    scale = tuple(preprocess.scale / std for std in _spread(preprocess.std, preprocess.mean))
    means = _spread(preprocess.mean, preprocess.std)
    shift = tuple(-mean / std for mean, std in zip(means, _spread(preprocess.std, means), strict=True))
    if len(scale) == 1:
        return Levels(scale, shift)
    axis = channel_axis(spec, layout)
    if axis is None or spec.shape[axis] not in (None, len(scale)):
        return f"mean and std of {len(scale)} channels do not fit the input {spec}"
    return Levels(scale, shift, axis)


def channel_axis(spec: TensorSpec, layout: str | None) -> int | None:
    """The axis of an image's channels in an input; None where it has fewer than three axes."""
    rank = len(spec.shape)
    return None if rank < 3 else rank - 1 if layout == "NHWC" else rank - 3


def of_array(dtype: np.dtype[np.generic], preprocess: Preprocess, spec: TensorSpec) -> Levels | str:
    """What the elements of an array stand for; or why they are not bytes."""
    if dtype != np.uint8:
        return f"the data are {dtype}: only uint8 arrays are bytes"
    if not normalises(preprocess, spec, dtype):
        return Levels()
    return of_pixels(preprocess, spec, preprocess.layout or "NCHW")


def normalises(preprocess: Preprocess, spec: TensorSpec, dtype: np.dtype[np.generic]) -> bool:
    """Whether scale, mean and std act on an array of the data: only if it was said, and it holds pixels."""
    pixels = dtype == np.uint8 and element_type(spec).kind == "f"
    return preprocess.arrays and preprocess.is_scaled and pixels


def normalised(value: Array, preprocess: Preprocess, spec: TensorSpec, where: str) -> Array:
    """Scale, mean and std on pixels in the layout of the input; float32.

    Raises:
        DataError: mean or std for another number of channels.
    """
    axis = channel_axis(spec, preprocess.layout)
    channels = value.shape[axis - len(spec.shape)] if axis is not None else 1
    for key, values in (("mean", preprocess.mean), ("std", preprocess.std)):
        if len(values) not in (1, channels):
            raise DataError(f"{where} has {channels} channels, {key} is given for {len(values)}")
    after = 0 if axis is None else len(spec.shape) - 1 - axis
    mean, std = (
        np.asarray(v, np.float32).reshape(-1, *[1] * after) for v in (preprocess.mean, preprocess.std)
    )
    return np.asarray((value.astype(np.float32) * np.float32(preprocess.scale) - mean) / std)


def of_preprocess(table: Preprocess, inputs: Sequence[TensorSpec]) -> Mapping[str, Levels | str]:
    """What `[data.preprocess]` alone says where there are no data: that of images.

    Args:
        inputs: Those that are not fixed.
    """
    images = [spec for spec in inputs if len(spec.shape) >= 3 and element_type(spec).kind == "f"]
    if table == Preprocess() or table.sample_rate or table.log_mel or len(images) != 1:
        return {}
    return {images[0].name: of_pixels(table, images[0], table.layout or _layout(images[0]))}


def common(parts: Sequence[Mapping[str, Levels | str]]) -> dict[str, Levels | str]:
    """What all parts of the data say; where one says no, or they differ, why."""
    found = dict(parts[0])
    for other in parts[1:]:
        for name, levels in other.items():
            if isinstance(found.get(name), str) or found.get(name) == levels:
                continue
            found[name] = levels if isinstance(levels, str) else "the parts of the data differ in their bytes"
    return found


def _layout(spec: TensorSpec) -> str:
    shape = spec.shape
    return "NHWC" if shape[-1] in (1, 3) and shape[-3] not in (1, 3) else "NCHW"


def _spread(values: Sequence[float], like: Sequence[float]) -> tuple[float, ...]:
    return tuple(values) if len(values) > 1 else tuple(values) * max(1, len(like))
