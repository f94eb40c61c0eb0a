"""Constants that are computed from others: made once, however many candidates make them.

What is known of a weight is known by the identity of its tensor (`precision._weights`): a folded weight that
every candidate computed anew would be quantized anew for each. Here the same constants give the same tensor,
as long as somebody holds it.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable, Sequence
from weakref import WeakValueDictionary

import numpy as np
import onnx_ir
from numpy.typing import NDArray

_SOURCES = "edgeopt.sources"
"""Key in a tensor's metadata: holds what it was made of, whose identity is given to no others meanwhile."""

Made = onnx_ir.Tensor[NDArray[np.generic]]

_made: WeakValueDictionary[tuple[Hashable, ...], Made] = WeakValueDictionary()


def derived(
    values: Sequence[onnx_ir.Value | None], form: Hashable, make: Callable[[], NDArray[np.generic]]
) -> Made:
    """The tensor of what `make` gives; the same one for the same question.

    Args:
        values: The constants that it is computed from; None for those that are left out.
        form: All else that it depends on.
    """
    sources = [value.const_value if value is not None else None for value in values]
    key = (form, *map(id, sources))
    known = _made.get(key)
    if known is None:
        known = onnx_ir.Tensor(make())
        known.meta[_SOURCES] = sources
        _made[key] = known
    return known
