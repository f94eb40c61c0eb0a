"""What is believed of an option's cost before anything was measured: scales and spreads, not constants.

All costs are fractions of the default model's whole figure. The spreads are wide on purpose: they order
what is plausible, and a handful of measurements overrules them.
"""

from __future__ import annotations

from collections.abc import Hashable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import csr_array

from edgeopt.core.saving import Saving, Savings
from edgeopt.core.space import DecisionPoint
from edgeopt.search.context import RegionTimes
from edgeopt.search.layout import Layout

Floats = NDArray[np.float64]

TIMED: frozenset[str] = frozenset({"latency", "p95", "cold-start", "energy", "power"})
FLOPS_PER_BYTE = 8.0
"""Machine balance of small ARM and x86 cores: floating-point operations in the time of one byte moved."""
BOUNDARY_TOTAL = {True: 0.6, False: 0.05}
"""If every edge were a precision boundary, by whether the figure is a time. Between fp32 and int8,
MobileNetV2's random mixes run up to three times slower than all-int8: boundaries cost more than layers."""
PARALLEL_SHARE = 0.7
"""Of an inference's time, what threads divide (Amdahl)."""

SPREADS = {
    "precision": (0.5, 0.3, 0.2),
    "structure": (0.4, 0.3, 0.2),
    "rewrite": (0.05, 0.15, 0.05),
    "quantization": (0.02, 0.02, 0.02),  # it moves accuracy; few kernels change (signedness, on ARM)
}
"""Relative to the region's cost: of an option everywhere, in one pattern, in one region."""
REWRITE_SAVING = 0.02
TABLE_TRUST = 0.4
"""Spreads shrink to this share where a profile of the board says what a region costs under an option."""


@dataclass(frozen=True, slots=True)
class Prior:
    """Gaussian beliefs about the coefficients of the feature columns, see `figure.FigureModel`.

    Attributes:
        mean: `(D,)` of the graph columns: C options, E edges, V * V pairs of words.
        spread: `(D, W)` maps unit-normal weights to deviations of the columns: an option's shared weight,
            its pattern's and the region's own add up, so repeated blocks learn together.
        shares: `(R,)` share of each region in the default model's figure.
        edge_scale: `(E,)` cost expected of a boundary there.
        runtime_mean: `(C,)` log factor of each runtime option, 0 for other columns.
        runtime_spread: `(C,)` its standard deviation, 0 for other columns.
    """

    mean: Floats
    spread: csr_array
    shares: Floats
    edge_scale: Floats
    runtime_mean: Floats
    runtime_spread: Floats


def region_shares(layout: Layout, figure: str, region_ms: RegionTimes) -> Floats:
    """`(R,)` share of each region in the default model's figure; sums to 1."""
    regions = layout.space.regions
    measured = region_ms.get(layout.words[0], {})
    if figure in TIMED and any(measured.get(r.name, 0.0) > 0 for r in regions):
        raw = [measured.get(r.name, 0.0) for r in regions]
    elif figure == "size":
        raw = [float(r.weight_bytes) for r in regions]
    elif figure == "memory":
        raw = [float(r.weight_bytes + r.output_bytes) for r in regions]
    else:
        moved = [r.weight_bytes + r.input_bytes + r.output_bytes for r in regions]
        raw = [r.flops + FLOPS_PER_BYTE * m for r, m in zip(regions, moved, strict=True)]
    shares = np.array(raw, dtype=np.float64)
    # No region is free of effect: a tenth of an even share keeps every option learnable.
    shares = shares / max(shares.sum(), 1e-12) + 0.1 / max(len(regions), 1)
    return np.asarray(shares / max(shares.sum(), 1e-12))


def saved_share(layout: Layout, figure: str, saving: Saving) -> float:
    """How much of the default model's figure an option of structure is expected to save.

    Of times, its share of the work: operations, and bytes moved at the machine balance.
    """
    regions = layout.space.regions
    weights = float(sum(r.weight_bytes for r in regions))
    if figure == "size":
        saved, whole = saving.weight_bytes, weights
    elif figure == "memory":
        saved, whole = saving.weight_bytes, weights + sum(r.output_bytes for r in regions)
    else:
        moved = sum(r.input_bytes + r.output_bytes for r in regions)
        saved = saving.flops + FLOPS_PER_BYTE * saving.moved_bytes
        whole = sum(r.flops for r in regions) + FLOPS_PER_BYTE * (weights + moved)
    return float(np.clip(saved / max(whole, 1e-12), 0.0, 1.0))


def build(
    layout: Layout, figure: str, region_ms: RegionTimes, boundaries: bool, savings: Savings | None = None
) -> Prior:
    """The prior of one figure (`latency`, `size`, ...) of one space.

    Args:
        boundaries: False leaves out what neighbours cost each other (only to show that it is needed).
        savings: Of options of structure; where there is none, an option is believed to save the share that it
            says it leaves out.
    """
    timed = figure in TIMED
    shares = region_shares(layout, figure, region_ms)
    ratios = _measured_ratios(layout, region_ms) if timed else {}
    pairs = len(layout.words) ** 2
    size = layout.columns + len(layout.edges) + pairs
    mean, runtime_mean, runtime_spread = np.zeros(size), np.zeros(layout.columns), np.zeros(layout.columns)
    rows: list[tuple[int, Hashable, float]] = []
    for p, point in enumerate(layout.space.points):
        region = int(layout.region[p])
        share = float(shares[region]) if region >= 0 else 0.1
        for k, option in enumerate(point.options):
            column = int(layout.column[p, k])
            if column < 0:
                continue
            if point.family == "runtime":
                runtime_mean[column], runtime_spread[column] = _runtime(point, option, timed)
                continue
            trust, scale = 1.0, share
            saving = (savings or {}).get(point.site, {}).get(option)
            if saving is not None:
                # The change may reach beyond its region, as a smaller picture does.
                mean[column] = -saved_share(layout, figure, saving)
                scale = max(-mean[column], 0.1 * share)
            elif (p, k) in ratios:
                mean[column], trust = ratios[p, k], TABLE_TRUST
            elif point.family == "rewrite":
                mean[column] = -REWRITE_SAVING * share
            elif point.family == "structure":
                mean[column] = -left_out(option) * share
            everywhere, pattern, own = (scale * trust * s for s in SPREADS[point.family])
            rows += [
                (column, ("everywhere", point.family, point.name, option), everywhere),
                (column, ("pattern", int(layout.group[p]), k), pattern),
                (column, ("own", column), own),
            ]
    edge_scale = _edge_scale(layout, BOUNDARY_TOTAL[timed] if boundaries else 0.0)
    first = layout.columns
    mean[first : first + len(edge_scale)] = edge_scale
    for e, (scale, (i, j)) in enumerate(zip(edge_scale, layout.edge_regions, strict=True)):
        patterns = (layout.space.regions[i].pattern, layout.space.regions[j].pattern)
        rows += [
            (first + e, "boundary", float(scale)),
            (first + e, ("boundary", patterns), 0.7 * float(scale)),
            (first + e, ("boundary", e), 0.5 * float(scale)),
        ]
    first += len(edge_scale)
    rows += [(first + pair, ("words", pair), 0.7) for pair in range(pairs)]
    return Prior(mean, _spread(rows, size), shares, edge_scale, runtime_mean, runtime_spread)


def left_out(option: str) -> float:
    """What a structure leaves out, where its option says the share that stays (`75%`) and no changed graph
    was looked at: as much of the region's cost is expected to go. What its consumers save is learned.
    """
    percent = option.removesuffix("%")
    kept = float(percent) / 100 if percent != option and percent.replace(".", "", 1).isdigit() else 1.0
    return 1 - min(kept, 1.0)


def _spread(rows: list[tuple[int, Hashable, float]], size: int) -> csr_array:
    weights: dict[Hashable, int] = {}
    columns = [weights.setdefault(key, len(weights)) for _, key, _ in rows]
    values = [value for _, _, value in rows]
    return csr_array((values, ([row for row, _, _ in rows], columns)), shape=(size, max(len(weights), 1)))


def _edge_scale(layout: Layout, total: float) -> Floats:
    count = len(layout.edges)
    if not count:
        return np.zeros(0)
    # Half of a conversion is its call, half is moving the tensor.
    by_bytes = layout.edge_bytes / max(layout.edge_bytes.sum(), 1e-12)
    return np.asarray(total * (0.5 / count + 0.5 * by_bytes))


def _measured_ratios(layout: Layout, region_ms: RegionTimes) -> dict[tuple[int, int], float]:
    """(point, option) -> change of its region's time, where both uniform models were profiled."""
    base = region_ms.get(layout.words[0], {})
    total = sum(base.values())
    if total <= 0:
        return {}
    found = {}
    for p, point in enumerate(layout.space.points):
        if point.family != "precision" or point.region is None or point.region not in base:
            continue
        for k, option in enumerate(point.options):
            other = region_ms.get(option, {})
            if option != point.default and point.region in other:
                found[p, k] = (other[point.region] - base[point.region]) / total
    return found


def _runtime(point: DecisionPoint, option: str, timed: bool) -> tuple[float, float]:
    if point.name == "threads" and timed:
        return float(np.log(_amdahl(int(option)) / _amdahl(int(point.default)))), 0.35
    return 0.0, 0.25 if timed else 0.05


def _amdahl(threads: int) -> float:
    return 1 - PARALLEL_SHARE + PARALLEL_SHARE / max(threads, 1)
