"""How many inferences run before the one that is counted: one rule for all variants of a model.

Variants are compared by a few percent, so they must not be counted by different rules. The rule follows one
of them, the original, and never a variant's own size or arithmetic.
"""

from __future__ import annotations

from collections.abc import Callable

SMALLEST_VARIANT = 4
"""A variant of a float32 model is at least about a quarter of it: int8."""

LONG_MS = 20.0


def cache_runs(
    original_bytes: int, largest_cache_bytes: int, arithmetic_ms: Callable[[], float | None]
) -> int | None:
    """Runs that fill the caches first; None: not even a first run that only allocates memory.

    A model larger than the caches finds nothing of its last run there: each run goes through all its weights.
    Where that holds for an int8 variant as well, no run warms. Where arithmetic alone takes long, what a
    first run allocates is little beside it, and to do without it saves a third of the cost.

    Args:
        original_bytes: Size of the original's file.
        arithmetic_ms: Tells what its arithmetic takes on one thread at the board's peak; None if not known
            (of a LiteRT file).
    """
    if original_bytes <= SMALLEST_VARIANT * largest_cache_bytes:
        return 1
    return None if (arithmetic_ms() or 0.0) >= LONG_MS else 0
