"""How far off the search's predictions were, in words."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from rich.console import Group, RenderableType


def with_prediction_errors(table: RenderableType, errors: Iterable[Mapping[str, Any]]) -> Group:
    """A table of trials, and a line per figure that the search predicted before it was measured."""
    from rich.console import Group
    from rich.text import Text

    return Group(table, *(Text(sentence(error), style="dim") for error in errors))


def sentence(error: Mapping[str, Any]) -> str:
    """One `study.prediction.PredictionError`, as a dictionary."""
    if error["figure"] == "drop":
        wrong, bias = f"{error['median_error']:.4f} (absolute)", f"{error['bias']:+.4f}"
    else:
        wrong, bias = f"{error['median_error']:.1%}", f"{error['bias']:+.1%}"
    ranks = "" if error["spearman"] is None else f", rank correlation {error['spearman']:.2f}"
    return (
        f"predicted before it was measured ({error['figure']}, n = {error['n']}): median error {wrong}, bias "
        f"{bias}, {error['covered']:.0%} inside the 90 % interval{ranks}"
    )
