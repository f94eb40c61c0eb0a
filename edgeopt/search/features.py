"""What the agent sees of a decision: the region, its options and their predicted effects, never an index.

No feature depends on how many regions or points a model has, so one policy serves every model and board.
"""

from __future__ import annotations

import hashlib

import numpy as np
from numpy.typing import NDArray

from edgeopt.search.layout import FAMILIES, Layout

Reals = NDArray[np.float32]

KINDS: tuple[frozenset[str], ...] = (
    frozenset({"Conv", "ConvTranspose", "FusedConv"}),
    frozenset({"Gemm", "MatMul", "FusedMatMul", "Attention"}),
    frozenset({"LSTM", "GRU", "RNN"}),
    frozenset({"MaxPool", "AveragePool", "GlobalAveragePool", "ReduceMean", "ReduceSum", "Softmax"}),
    frozenset({"BatchNormalization", "LayerNormalization", "InstanceNormalization"}),
    frozenset({"Reshape", "Transpose", "Concat", "Slice", "Gather", "Squeeze", "Unsqueeze", "Pad"}),
)
REGION_FEATURES = 5 + len(KINDS)
NAME_FEATURES = 4
PLAIN_FEATURES = 11
OPTION_FEATURES = PLAIN_FEATURES + NAME_FEATURES
"""Default, price here, boundary part, drop, doubt, like predecessors, like twins, like the best, like the
elite, what follows it in the graph, what its drop costs, and four signs from a hash of the option's name."""
DEFAULT_FEATURE, PRICE_FEATURE, BEST_FEATURE, AHEAD_FEATURE, DROP_COST_FEATURE = 0, 1, 7, 9, 10
HIDDEN = 64
"""Width of the network that reads them."""
VERSION = 2
"""Of all features: weights that were trained on others mean nothing. Count up when one changes."""
STATE_FEATURES = 8
"""Left to decide, gain so far, accuracy left, budgeted, tied, twins decided, cores, trials known."""
CONTEXT_FEATURES = REGION_FEATURES + len(FAMILIES) + STATE_FEATURES


def observation_size(width: int) -> int:
    """Length of an observation where a point has at most `width` options."""
    return CONTEXT_FEATURES + width * OPTION_FEATURES


def point_features(layout: Layout, shares: NDArray[np.float64]) -> Reals:
    """`(P, REGION_FEATURES + families)` what does not change during an episode.

    Args:
        shares: `(R,)` each region's part of the default model's figure.
    """
    regions = layout.space.regions
    table = np.zeros((len(regions) + 1, REGION_FEATURES), dtype=np.float32)  # last row: the whole model
    for i, region in enumerate(regions):
        kinds = [any(op in kind for op in region.op_types) for kind in KINDS]
        table[i] = [
            np.log1p(region.flops) / 20,
            np.log1p(region.input_bytes + region.output_bytes) / 15,
            np.log1p(region.weight_bytes) / 15,
            min(shares[i] * 5, 1.0),
            min(len(region.predecessors) / 4, 1.0),
            *kinds,
        ]
    family = np.eye(len(FAMILIES), dtype=np.float32)[layout.family]
    return np.hstack([table[layout.region], family])


def name_features(layout: Layout) -> Reals:
    """`(P, K, NAME_FEATURES)` signs that stay the same for an option's name in every model."""
    table = np.zeros((layout.count, layout.width, NAME_FEATURES), dtype=np.float32)
    for p, point in enumerate(layout.space.points):
        for k, option in enumerate(point.options):
            digest = hashlib.sha256(f"{point.family}:{point.name}:{option}".encode()).digest()
            table[p, k] = [1.0 if byte & 1 else -1.0 for byte in digest[:NAME_FEATURES]]
    return table


def cores(layout: Layout) -> int:
    """Cores of the board, as far as the space knows: its largest number of threads."""
    for point in layout.space.points:
        if point.family == "runtime" and point.name == "threads":
            return max(int(option) for option in point.options)
    return 1
