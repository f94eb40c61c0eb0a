"""How well figures that were not measured agree with a board's: what `edgeopt confirm` ends with."""

from __future__ import annotations

import statistics
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from edgeopt.core.quantity import Quantity
from edgeopt.core.trial import Kind
from edgeopt.report.figures import ms

if TYPE_CHECKING:
    from rich.table import Table

LEAST_FOR_RANKS = 3
"""Two figures are always in order or in reverse: their rank correlation says nothing."""


@dataclass(frozen=True, slots=True)
class Pair:
    """One artifact's latency as a model said it, and as hardware did."""

    name: str
    kind: Kind
    estimated: Quantity
    measured: Quantity

    @property
    def ratio(self) -> float:
        """Estimated / measured: above 1 the board is faster than was said."""
        return self.estimated.value / self.measured.value

    @property
    def is_within_error(self) -> bool:
        """Whether the measured figure lies in the interval that was given for it."""
        return self.estimated.low <= self.measured.value <= self.estimated.high


def agreement(study: str, pairs: Sequence[Pair]) -> dict[str, Any]:
    """The JSON form: each pair, and over all of them the median ratio, its range and the rank correlation.

    Args:
        study: Folder of the study whose figures were not measured.
        pairs: Of distinct set-ups.
    """
    ratios = [pair.ratio for pair in pairs]
    return {
        "study": study,
        "provenance": pairs[0].estimated.provenance if pairs else None,
        "n": len(pairs),
        "ratio": statistics.median(ratios) if ratios else None,
        "ratio_range": [min(ratios), max(ratios)] if ratios else None,
        "within_error": sum(pair.is_within_error for pair in pairs),
        "rank_correlation": rank_correlation(pairs),
        "rows": [
            {
                "name": pair.name,
                "kind": pair.kind,
                "estimated_ms": _figure(pair.estimated),
                "measured_ms": _figure(pair.measured),
                "ratio": pair.ratio,
                "within_error": pair.is_within_error,
            }
            for pair in pairs
        ],
    }


def rank_correlation(pairs: Sequence[Pair]) -> float | None:
    """Spearman's, of estimated with measured latency; None where it would say nothing."""
    from scipy.stats import spearmanr

    estimated = [pair.estimated.value for pair in pairs]
    measured = [pair.measured.value for pair in pairs]
    if len(pairs) < LEAST_FOR_RANKS or len(set(estimated)) == 1 or len(set(measured)) == 1:
        return None
    return float(spearmanr(estimated, measured).statistic)


def sentence(found: Mapping[str, Any]) -> str:
    """`emulated / measured: 1.08 (0.97–1.21) over 9 set-ups, rank correlation 0.98; …`."""
    if not found["n"]:
        return "Nothing was measured that can be compared."
    low, high = found["ratio_range"]
    ranks = found["rank_correlation"]
    order = f"rank correlation {ranks:.2f}" if ranks is not None else "too few for a rank correlation"
    return (
        f"{found['provenance']} / measured: {found['ratio']:.2f} (from {low:.2f} to {high:.2f}) over "
        f"{found['n']} set-ups, {order}; {found['within_error']} of {found['n']} within the error bar."
    )


def table(found: Mapping[str, Any]) -> Table:
    """Both figures of every set-up."""
    from rich import box
    from rich.table import Table
    from rich.text import Text

    shown = Table(box=box.SIMPLE_HEAD, pad_edge=False)
    shown.add_column("name", overflow="fold")
    for heading in (str(found["provenance"]), "measured", "ratio"):
        shown.add_column(heading, justify="right", no_wrap=True)
    for row in found["rows"]:
        was, now = row["estimated_ms"], row["measured_ms"]
        reach = (was["ci95"][1] - was["ci95"][0]) / 2 / was["p50"]
        shown.add_row(
            Text(row["name"]), f"{ms(was['p50'])} ±{100 * reach:.0f} %", ms(now["p50"]), f"{row['ratio']:.2f}"
        )
    return shown


def _figure(quantity: Quantity) -> dict[str, Any]:
    return {
        "p50": quantity.value,
        "ci95": [quantity.low, quantity.high],
        "provenance": quantity.provenance,
    }
