"""Variants of good candidates: single changes, changes of a whole pattern, and runs of regions.

A run matters because boundaries cost: turning one layer in the middle of float pays for two conversions,
turning a stretch of the graph pays for two as well, but gains on all of it.
"""

from __future__ import annotations

import numpy as np

from edgeopt.search.layout import FAMILIES, Codes, Layout


def mutate(
    layout: Layout, parents: Codes, count: int, rng: np.random.Generator, free: Codes | None = None
) -> Codes:
    """`(count, P)` variants of randomly chosen rows of `parents`.

    Args:
        free: Points that may change, at least one; None for all.
    """
    free = np.arange(layout.count) if free is None else free
    children = parents[rng.integers(len(parents), size=count)]
    moves = (_flip, _flip_group, _flip_run, _cross)
    for child in children:
        moves[rng.integers(len(moves))](layout, child, parents, free, rng)
    return children


def everything(layout: Layout) -> Codes:
    """Every candidate of a small space, `(size, P)`."""
    axes = np.meshgrid(*(np.arange(n) for n in layout.options), indexing="ij")
    return np.stack([axis.ravel() for axis in axes], axis=1)


def uniform(layout: Layout) -> Codes:
    """One candidate per precision option, chosen wherever it can be, everything else at its default."""
    rows = []
    for word in range(len(layout.words)):
        row = layout.default.copy()
        for p in np.flatnonzero(layout.family == FAMILIES.index("precision")):
            options = layout.word[p, : layout.options[p]]
            if word in options:
                row[p] = int(np.argmax(options == word))
        rows.append(row)
    return np.array(rows, dtype=np.intp)


def _flip(layout: Layout, child: Codes, _: Codes, free: Codes, rng: np.random.Generator) -> None:
    for p in free[rng.integers(len(free), size=rng.integers(1, 4))]:
        child[p] = rng.integers(layout.options[p])


def _flip_group(layout: Layout, child: Codes, _: Codes, free: Codes, rng: np.random.Generator) -> None:
    p = free[rng.integers(len(free))]
    child[layout.group == layout.group[p]] = rng.integers(layout.options[p])


def _flip_run(layout: Layout, child: Codes, _: Codes, free: Codes, rng: np.random.Generator) -> None:
    p = free[rng.integers(len(free))]
    point = layout.space.points[p]
    option = point.options[rng.integers(layout.options[p])]
    alike = np.flatnonzero(layout.alike == layout.alike[p])
    start, stop = np.sort(rng.integers(len(alike) + 1, size=2))
    for q in alike[start:stop]:
        options = layout.space.points[q].options
        if option in options:
            child[q] = options.index(option)


def _cross(_: Layout, child: Codes, parents: Codes, free: Codes, rng: np.random.Generator) -> None:
    other = parents[rng.integers(len(parents))]
    start, stop = np.sort(rng.integers(len(free) + 1, size=2))
    child[free[start:stop]] = other[free[start:stop]]
