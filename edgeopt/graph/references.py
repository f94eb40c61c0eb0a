"""The well-known recipes, as candidates: what a search has to beat."""

from __future__ import annotations

from edgeopt.core.candidate import Candidate
from edgeopt.core.space import SearchSpace
from edgeopt.graph import precision, rewriting
from edgeopt.graph.space import ON

NAMES = {
    "int8_static_tensor": "int8-static-per-tensor",
    "int8_static_channel": "int8-static-per-channel",
    "int8_dynamic": "int8-dynamic",
    "float16_weights": "float16-storage",
    "int8_weights": "int8-weight-only",
    "int4_weights": "int4-weight-only",
}
"""What the recipes are called; a further scheme's recipe has the scheme's name."""

STORED = "float16_weights"
"""Halves a weight at no cost while the model runs."""


def references(space: SearchSpace, cores: int, *, small: bool = False) -> list[tuple[str, Candidate]]:
    """The recipes that this space has, named, without the original itself (which is trial 0).

    Each precision recipe is what the well-known tools make: all usual rewrites, that scheme wherever it
    applies, the runtime's defaults. Then the rewrites alone, one thread, and all cores where that is not the
    default. A recipe that changes nothing, or the same as another, is left out.

    Args:
        cores: Of the board.
        small: Whether the size decides: then a recipe stores in float16 what its scheme does not take.
    """
    rewrites = {
        point.site: ON
        for point in space.points
        if point.family == "rewrite" and rewriting.is_usual(str(point.name))
    }
    recipes: list[tuple[str, dict[str, str]]] = []
    stored = {p.site: STORED for p in space.points if p.family == "precision" and STORED in p.options}
    for scheme in sorted(precision.names(), key=_order):
        chosen = {
            point.site: scheme
            for point in space.points
            if point.family == "precision" and scheme in point.options and scheme != point.default
        }
        if chosen and small:
            chosen = stored | chosen
        if chosen:
            recipes.append((NAMES.get(scheme, scheme), rewrites | chosen))
    recipes.append(("rewrites-only", rewrites))
    threads = "runtime:threads"
    if threads in space:
        wanted = dict.fromkeys(("1", str(cores)))
        recipes += [(f"threads-{n}", {threads: n}) for n in wanted if n in space[threads].options]
    seen = {space.default()}
    made: list[tuple[str, Candidate]] = []
    for name, decisions in recipes:
        candidate = space.candidate(decisions)
        if candidate not in seen:
            seen.add(candidate)
            made.append((name, candidate))
    return made


def _order(scheme: str) -> tuple[int, str]:
    known = list(NAMES)
    return (known.index(scheme) if scheme in known else len(known), scheme)
