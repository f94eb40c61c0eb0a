"""Resize in torch: along each axis a product with a matrix of what each new element takes from the old ones.

Known are linear and nearest, and the usual ways to map coordinates; not cubic, antialiasing, regions (`roi`)
and keeping the aspect ratio.

Source: ONNX operator Resize, version 10 to 19.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from edgeopt.graph.training.operators import Call, Inputs, Operator, at, need

NEAREST: dict[str, Callable[[NDArray[np.float64]], NDArray[np.float64]]] = {
    "round_prefer_floor": lambda x: np.ceil(x - 0.5), "round_prefer_ceil": lambda x: np.floor(x + 0.5),
    "floor": np.floor, "ceil": np.ceil,
}  # fmt: skip


def _resize(call: Call, inputs: Inputs) -> Tensor:
    x = need(inputs)
    older = call.opset < 11  # scales alone, rounded down
    given, wanted = at(inputs, 1 if older else 2), None if older else at(inputs, 3)
    axes = [axis % x.ndim for axis in call.get("axes") or range(x.ndim)]
    if call.get("antialias", 0) or call.get("keep_aspect_ratio_policy", "stretch") != "stretch":
        raise call.refuse("it filters, or keeps the aspect ratio")
    for number, axis in enumerate(axes):
        size = x.shape[axis]
        if wanted is not None and wanted.numel():
            new = int(wanted[number])
            scale = new / size
        else:
            scale = float(need([given])[number])
            new = int(size * scale)
        if new != size:
            matrix = torch.from_numpy(_matrix(call, size, new, scale)).to(x.dtype)
            x = (x.movedim(axis, -1) @ matrix).movedim(-1, axis)
    return x


def _matrix(call: Call, size: int, new: int, scale: float) -> NDArray[np.float64]:
    """What each of `new` elements takes from each of `size`: (size, new)."""
    at_new = np.arange(new, dtype=np.float64)
    how = call.get("coordinate_transformation_mode", "asymmetric" if call.opset < 11 else "half_pixel")
    if how == "asymmetric":
        at_old = at_new / scale
    elif how == "align_corners":
        at_old = at_new * (size - 1) / max(1, new - 1)
    elif how == "half_pixel" or (how == "pytorch_half_pixel" and new > 1):
        at_old = (at_new + 0.5) / scale - 0.5
    elif how == "pytorch_half_pixel":
        at_old = np.zeros(1)
    else:
        raise call.refuse(f"its coordinates are {how}")
    matrix, columns = np.zeros((size, new)), np.arange(new)
    mode = call.get("mode", "nearest")
    if mode == "nearest":
        rounded = NEAREST[call.get("nearest_mode", "floor" if call.opset < 11 else "round_prefer_floor")](
            at_old
        )
        matrix[np.clip(rounded, 0, size - 1).astype(int), columns] = 1.0
    elif mode == "linear":
        at_old = np.clip(at_old, 0, size - 1)
        low = np.minimum(np.floor(at_old).astype(int), size - 1)
        share = at_old - low
        np.add.at(matrix, (low, columns), 1 - share)
        np.add.at(matrix, (np.minimum(low + 1, size - 1), columns), share)
    else:
        raise call.refuse(f"its mode is {mode}")
    return matrix


TABLE: dict[str, Operator] = {"Resize": _resize}
