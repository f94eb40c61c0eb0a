"""Which of several models that were measured together differ."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import combinations
from typing import Any

from edgeopt.boards.intervals import turned_ratio
from edgeopt.core.errors import CandidateFailed
from edgeopt.core.measurement import Measurement
from edgeopt.report.ratio import Z_95, modelled_ratio, paired_ratio


def comparisons(
    names: Sequence[str],
    results: Sequence[Measurement | CandidateFailed],
    pairwise_error: float,
) -> list[dict[str, Any]]:
    """Every two models, those with the control (the first) before the others: `a` in relation to `b`.

    What is measured has the interval of its repetitions, widened for the number of comparisons, and none
    without repetitions; what is not measured has that of `pairwise_error`, within which two are a tie.

    Returns:
        `{"a", "b", "ratio_p50", "ci95", "significant", "tie"}` each; `ci95` and `significant` are None where
        nothing is known of the error.
    """
    ran = [(n, r) for n, r in zip(names, results, strict=True) if isinstance(r, Measurement)]
    pairs = list(combinations(ran, 2))
    return [_compared(*one, *control, len(pairs), pairwise_error) for control, one in pairs]


def _compared(
    a: str, of_a: Measurement, b: str, of_b: Measurement, count: int, pairwise_error: float
) -> dict[str, Any]:
    ratio, near = of_a.p50_ms / of_b.p50_ms, None
    if of_a.provenance == "measured":
        found = turned_ratio(of_a.process_turns_ms, of_b.process_turns_ms, count) or paired_ratio(
            of_a.process_p50_ms, of_b.process_p50_ms, count
        )
    else:
        found, near = modelled_ratio(ratio, pairwise_error, Z_95), modelled_ratio(ratio, pairwise_error)
    return {
        "a": a,
        "b": b,
        "ratio_p50": found[0] if found else ratio,
        "ci95": list(found[1:]) if found else None,
        "significant": not found[1] <= 1 <= found[2] if found else None,
        "tie": near is not None and near[1] <= 1 <= near[2],
    }
