"""The well-known recipes, as candidates: what a search has to beat."""

from __future__ import annotations

from collections.abc import Iterator

from edgeopt.core.candidate import LITERT, ONNXRUNTIME, RUNTIME, Candidate
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

LITERT_INT8 = "int8_static_channel"
NAMES_OF_LITERT = {
    LITERT_INT8: "litert-int8-static",
    "int16x8": "litert-int16x8",
    "int8_dynamic": "litert-int8-dynamic",
    "float16_weights": "litert-float16-storage",
    "int8_weights": "litert-int8-weight-only",
    "int4_weights": "litert-int4-weight-only",
}
"""What LiteRT's recipes are called."""

STORED = "float16_weights"
"""Halves a weight at no cost while the model runs."""


def references(space: SearchSpace, cores: int, *, small: bool = False) -> list[tuple[str, Candidate]]:
    """The recipes that this space has, named, without the original itself (which is trial 0).

    Each precision recipe is what the well-known tools make: all usual rewrites, that scheme wherever it
    applies, the runtime's defaults. Then the rewrites alone, one thread, and all cores where that is not the
    default. A recipe that changes nothing, or the same as another, is left out.

    Where the space decides on the runtime, it is so for ONNX Runtime, and for LiteRT with `litert-` in front;
    where LiteRT may only be measured beside, its float and its int8 file are recipes, too.

    Args:
        cores: Of the board.
        small: Whether the size decides: then a recipe stores in float16 what its scheme does not take.
    """
    seen, made = {space.default()}, list[tuple[str, Candidate]]()
    for name, candidate in _of_all_runtimes(space, cores, small):
        if candidate not in seen:
            seen.add(candidate)
            made.append((name, candidate))
    return made


def _of_all_runtimes(space: SearchSpace, cores: int, small: bool) -> Iterator[tuple[str, Candidate]]:
    for runtime in space.runtimes or (ONNXRUNTIME,):
        inside = space.under(runtime) if space.runtimes else space
        recipes = _recipes(inside, cores, small) if runtime == ONNXRUNTIME else _of_litert(inside, cores)
        yield from ((name, inside.candidate(decisions)) for name, decisions in recipes)
    if not space.runtimes and RUNTIME in space and LITERT in space[RUNTIME].options:
        for name, decisions in [("litert-float32", {}), *_litert_recipes(space, [LITERT_INT8])]:
            yield name, space.candidate({**decisions, RUNTIME: LITERT})


def _of_litert(space: SearchSpace, cores: int) -> list[tuple[str, dict[str, str]]]:
    """The file as it is converted, each of the tool's recipes over all of it, and the usual rewrites.

    The converter folds and fuses by itself: the recipes are of the graph as it was given.
    """
    usual = {
        point.site: ON
        for point in space.points
        if point.family == "rewrite" and rewriting.is_usual(str(point.name)) and ON in point.options
    }
    return [
        ("litert-float32", {}),
        *_litert_recipes(space, list(NAMES_OF_LITERT)),
        ("litert-rewrites-only", usual),
        *((f"litert-{name}", decisions) for name, decisions in _threads(space, cores)),
    ]


def _litert_recipes(space: SearchSpace, names: list[str]) -> list[tuple[str, dict[str, str]]]:
    found = []
    for name in names:
        chosen = {p.site: name for p in space.points if p.family == "precision" and name in p.options}
        if chosen:
            found.append((NAMES_OF_LITERT[name], chosen))
    return found


def _recipes(space: SearchSpace, cores: int, small: bool) -> list[tuple[str, dict[str, str]]]:
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
    return recipes + _threads(space, cores)


def _threads(space: SearchSpace, cores: int) -> list[tuple[str, dict[str, str]]]:
    threads = "runtime:threads"
    if threads not in space:
        return []
    wanted = dict.fromkeys(("1", str(cores)))
    return [(f"threads-{n}", {threads: n}) for n in wanted if n in space[threads].options]


def _order(scheme: str) -> tuple[int, str]:
    known = list(NAMES)
    return (known.index(scheme) if scheme in known else len(known), scheme)
