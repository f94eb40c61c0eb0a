"""The calibration samples, as the rivals take them."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np


def feeds(calibration: Path) -> Iterator[dict[str, Any]]:
    """One inference's inputs after the other."""
    arrays = dict(np.load(calibration))
    for index in range(len(next(iter(arrays.values())))):
        yield {name: value[index] for name, value in arrays.items()}
