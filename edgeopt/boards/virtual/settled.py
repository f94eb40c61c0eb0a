"""Emulated figures are rounded so that two runs of one model agree.

Counts of a whole run repeat to far below 0.1 %, the same run split into nodes only to some 0.01 %. A search
amplifies any difference, and the same seed shall give the same study.
"""

from __future__ import annotations

import math

WHOLE_STEP = 0.001
NODE_STEP = 0.02
"""In log: finer than the model is right, coarser than counts repeat."""


def settled(value: float, step: float) -> float:
    """To the nearest of steps that are relative to the value; 0 stays."""
    return math.exp(round(math.log(value) / step) * step) if value > 0 else value
