"""The parts of a winner: what it decided otherwise than the original, and the winner without each of them."""

from __future__ import annotations

from collections.abc import Hashable
from dataclasses import dataclass
from typing import Literal

from edgeopt.core.candidate import Candidate
from edgeopt.core.space import DecisionPoint, SearchSpace

By = Literal["decision", "pattern"]
MOST_ALONE = 24
"""Decisions that are turned back one by one; where there are more, repeated blocks go together."""


@dataclass(frozen=True, slots=True)
class Ablation:
    """One decision, or one that repeated blocks share, turned back to the original's answer.

    Attributes:
        sites: Where it was decided, in topological order.
        option: What the winner chose there.
        instead_of: What the original has there.
        candidate: The winner with the original's answer at these sites.
    """

    sites: tuple[str, ...]
    option: str
    instead_of: str
    candidate: Candidate

    @property
    def name(self) -> str:
        """`precision@/layer1/conv and 3 like it`."""
        more = len(self.sites) - 1
        return self.sites[0] + (f" and {more} like it" if more else "")


def ablations(space: SearchSpace, winner: Candidate, by: By | None = None) -> list[Ablation]:
    """The winner's parts, in topological order.

    Args:
        by: `pattern` takes decisions alike of repeated regions together; None does where there are more than
            `MOST_ALONE`.
    """
    changes = winner.changes(space.default())
    together = by == "pattern" or (by is None and len(changes) > MOST_ALONE)
    patterns = {region.name: region.pattern for region in space.regions}
    parts: dict[Hashable, list[DecisionPoint]] = {}
    for point in space.points:
        if point.site in changes:
            pattern = patterns.get(point.region or "") if together else None
            alike = (point.family, point.name, pattern, changes[point.site], point.default)
            parts.setdefault(point.site if pattern is None else alike, []).append(point)
    return [_ablation(space, winner, points) for points in parts.values()]


def _ablation(space: SearchSpace, winner: Candidate, points: list[DecisionPoint]) -> Ablation:
    chosen = dict(winner.decisions)
    back = {point.site: point.default for point in points}
    sites = tuple(back)
    return Ablation(sites, chosen[sites[0]], points[0].default, space.settled(chosen | back))
