"""Decisions by region: what the winner does where."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Cell:
    """One region of the model, and what was decided about it.

    Attributes:
        precision: Chosen scheme; `float32` where nothing was changed.
        rewrites: Applied there.
        others: Further decisions about it, as `name=option`.
        hue: 0 for float32, then one per scheme, in order of first appearance.
    """

    name: str
    operators: str
    precision: str
    rewrites: tuple[str, ...]
    others: tuple[str, ...]
    hue: int

    @property
    def label(self) -> str:
        """All of it in one line, for a tooltip."""
        parts = [f"{self.name} ({self.operators})", self.precision, *self.rewrites, *self.others]
        return " · ".join(parts)


def cells(decisions: Mapping[str, str], regions: Sequence[tuple[str, str]]) -> list[Cell]:
    """One cell per region, in order; regions that only the decisions know come last."""
    operators = dict(regions)
    sites: dict[str, dict[str, str]] = {name: {} for name, _ in regions}
    for site, option in decisions.items():
        what, at, region = site.partition("@")
        if at:
            sites.setdefault(region, {})[what] = option
    hues = {"float32": 0}
    row = []
    for name, chosen in sites.items():
        precision = chosen.get("precision", "float32")
        hue = hues.setdefault(precision, len(hues))
        rewrites = tuple(
            what.removeprefix("rewrite:")
            for what, option in chosen.items()
            if what.startswith("rewrite:") and option != "off"
        )
        others = tuple(
            f"{what}={option}"
            for what, option in chosen.items()
            if what != "precision" and not what.startswith("rewrite:")
        )
        row.append(Cell(name, operators.get(name, ""), precision, rewrites, others, hue))
    return row


def whole_model(decisions: Mapping[str, str]) -> dict[str, str]:
    """Decisions that are about no region: runtime settings, and rewrites of the whole graph."""
    return {site: option for site, option in decisions.items() if "@" not in site}
