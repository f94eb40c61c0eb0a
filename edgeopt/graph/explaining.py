"""Which rewrites a model has places for, and why the others do not apply."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass

from edgeopt.graph import rewriting
from edgeopt.graph.model import Model
from edgeopt.graph.regions import regions, tag

NO_PLACE = "nothing in the model looks like what it looks for"


@dataclass(frozen=True, slots=True)
class Explained:
    """One rewrite and a model.

    Attributes:
        name: Of the rewrite.
        exact: The outputs stay the same, up to rounding.
        allowed_by: What has to be allowed for it (`--allow-interface`); None: it changes no input.
        places: Region -> how often it applies there, by itself or after others.
        refused: Reason -> the nodes at which it does not apply for it.
    """

    name: str
    exact: bool
    allowed_by: str | None
    places: dict[str, int]
    refused: dict[str, tuple[str, ...]]

    @property
    def count(self) -> int:
        """How often it applies."""
        return sum(self.places.values())

    @property
    def reasons(self) -> list[str]:
        """Why it does not apply, the commonest first; where it has no place, that."""
        by_count = sorted(self.refused, key=lambda reason: (-len(self.refused[reason]), reason))
        return by_count or ([] if self.count else [NO_PLACE])


def explain(model: Model) -> list[Explained]:
    """Every rewrite: where it applies in a frozen model and why not elsewhere; those that apply first.

    Args:
        model: Of `freeze`; it is not changed.
    """
    found = regions(model)
    counts = rewriting.applicable(model, found, rewriting.interfaces()).counts
    tagged = model.ir.clone()
    tag(tagged, found)
    refused: dict[str, dict[str, list[str]]] = {}
    for refusal in rewriting.refusals(tagged):
        refused.setdefault(refusal.rewrite, {}).setdefault(refusal.reason, []).append(refusal.node)
    explained = [
        Explained(
            name,
            rewriting.is_exact(name),
            rewriting.changes(name),
            dict(Counter(counts.get(name, {}))),
            {reason: tuple(nodes) for reason, nodes in refused.get(name, {}).items()},
        )
        for name in rewriting.in_order()
    ]
    return sorted(explained, key=lambda one: (-one.count, not one.refused, one.name))
