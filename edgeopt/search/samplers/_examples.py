"""Tiny spaces for the conformance suite."""

from __future__ import annotations

from edgeopt.core.region import Region
from edgeopt.core.space import DecisionPoint, SearchSpace


def chain(length: int, threads: tuple[str, ...] = ("1", "2"), widths: tuple[str, ...] = ()) -> SearchSpace:
    """`length` convolutions in a row, each float or int8, one rewrite on the first, and the threads.

    Args:
        widths: Of each convolution, the widest first; empty: structure is not decided.
    """
    regions = tuple(
        Region(
            name=f"/conv{i}",
            pattern=f"pattern{i % 2}",
            nodes=(f"/conv{i}",),
            op_types=("Conv",),
            inputs=("x",),
            outputs=("y",),
            predecessors=(f"/conv{i - 1}",) if i else (),
            flops=1_000_000 * (1 + i % 3),
            weight_bytes=10_000,
            input_bytes=100_000,
            output_bytes=100_000,
        )
        for i in range(length)
    )
    points = [DecisionPoint("rewrite:fold@/conv0", ("off", "on"), "off")]
    points += [DecisionPoint(f"precision@{r.name}", ("float32", "int8"), "float32") for r in regions]
    if widths:
        points += [DecisionPoint(f"structure:width@{r.name}", widths, widths[0]) for r in regions]
    points.append(DecisionPoint("runtime:threads", threads, threads[-1]))
    return SearchSpace("0" * 64, tuple(points), regions)


SMALL = chain(4)
"""64 candidates."""
LONG = chain(30)
"""More candidates than could ever be enumerated."""
STRUCTURED = chain(4, widths=("100%", "75%", "50%"))
"""81 structures."""
