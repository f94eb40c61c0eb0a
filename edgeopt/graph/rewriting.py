"""Applies rewrites to a graph, each where it is enabled."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass
from functools import cache
from typing import TYPE_CHECKING, cast

import onnx_ir

from edgeopt.core import plugins
from edgeopt.core.errors import RewriteError
from edgeopt.core.region import Region
from edgeopt.graph.interface import record
from edgeopt.graph.matching import Found, Refusal
from edgeopt.graph.regions import REGION_TAG, region_of, tag
from edgeopt.graph.rewrites import Rewrite

if TYPE_CHECKING:
    from edgeopt.graph.model import Model

FAMILY = "rewrites"
MADE_BY = "edgeopt.made_by"
"""Key in a node's `metadata_props`: the rewrite that made it, so that its opposite leaves it alone."""

MAX_ROUNDS = 8
"""One rewrite opens the way for another; after this many rounds over all of them nothing is gained."""


@dataclass(frozen=True, slots=True)
class Application:
    """One rewrite that was applied once.

    Attributes:
        rewrite: Name of the rewrite.
        region: Where it was applied.
        nodes: Names of the nodes that it replaced or removed.
    """

    rewrite: str
    region: str
    nodes: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Applicable:
    """What the rewrites could do to a model.

    Attributes:
        counts: Rewrite -> region -> how often; only counts above 0.
        rewritten: The model after all usual rewrites; its nodes are tagged with their regions.
    """

    counts: Mapping[str, Mapping[str, int]]
    rewritten: onnx_ir.Model


@dataclass(frozen=True, slots=True)
class Refused:
    """A place whose operators fit a rewrite that does not apply there, and why."""

    rewrite: str
    region: str
    node: str
    reason: str


def apply(model: onnx_ir.Model, enabled: Callable[[str, str], bool]) -> list[Application]:
    """Apply every rewrite where `enabled(rewrite, region)`, in place, until nothing more applies.

    A rewrite belongs to the region of the last node of the place that it matches. Its new nodes inherit
    that region; nodes and constants that nothing reads any more are removed.

    Args:
        model: A tagged copy (`regions.tag`).
        enabled: Asked with the names of the rewrite and of the region.

    Raises:
        RewriteError: A rewrite does not come to an end.
    """
    dead_before = {node for node in model.graph if _is_dead(node)}
    unused_before = {value for value in model.graph.initializers.values() if _is_unused(value)}
    present = {region_of(node) for node in model.graph}
    wanted = [name for name in in_order() if any(enabled(name, region) for region in present)]
    applications: list[Application] = []
    tried: dict[str, int] = {}  # rewrite -> how many applications there were when it last found nothing
    for _ in range(MAX_ROUNDS):
        before = len(applications)
        for name in wanted:
            if tried.get(name) == len(applications):
                continue
            if done := _exhaust(model, name, enabled):
                applications += done
                _remove_dead(model.graph, dead_before, unused_before)
            else:
                tried[name] = len(applications)
        if len(applications) == before:
            break
    record(model)
    return applications


def applicable(model: Model, found: Iterable[Region], interface: Collection[str] = ()) -> Applicable:
    """How often each rewrite could be applied in each region.

    Counted with all usual rewrites on, with each rewrite alone, and with each other one on top of the usual
    ones, as one may open the way for another or take it; the largest count stands. Where changes of the
    interface are allowed, all of that once more behind them.

    Args:
        model: Frozen.
        found: Its regions.
        interface: What may change (`uint8-input`): other rewrites that do are left out.
    """
    tagged = model.ir.clone()
    tag(tagged, found)
    counts: dict[str, dict[str, int]] = {}

    def count(graph: onnx_ir.Model, names: frozenset[str]) -> None:
        seen: dict[tuple[str, str], int] = {}
        for done in apply(graph, lambda name, _: name in names):
            seen[done.rewrite, done.region] = seen.get((done.rewrite, done.region), 0) + 1
        for (name, region), number in seen.items():
            regions = counts.setdefault(name, {})
            regions[region] = max(number, regions.get(region, 0))

    offered = [name for name in in_order() if changes(name) is None or changes(name) in interface]
    usual = frozenset(name for name in offered if is_usual(name))
    changing = frozenset(name for name in offered if changes(name) is not None)
    count(rewritten := tagged.clone(), usual)
    for name in offered:
        if _is_found(tagged, name):
            count(tagged.clone(), frozenset({name}))
        if name not in usual and _is_found(rewritten, name):
            count(rewritten.clone(), frozenset({name}))
    if any(counts.get(name) for name in changing):
        count(changed := tagged.clone(), usual | changing)
        for name in offered:
            if name not in usual and _is_found(changed, name):
                count(changed.clone(), frozenset({name}))
    return Applicable(counts, rewritten)


def refusals(model: onnx_ir.Model) -> list[Refused]:
    """Every place in a tagged graph that a rewrite's operators fit, but where it does not apply."""
    return [
        Refused(name, region_of(node), str(node.name), refusal.reason)
        for name in in_order()
        for node in model.graph
        for refusal in _refusal_at(model, name, node)
    ]


def is_exact(rewrite: str) -> bool:
    """Whether a rewrite computes the same numbers up to rounding, so that it needs no data to be searched."""
    return load(rewrite).EXACT


def changes(rewrite: str) -> str | None:
    """What of the model's interface a rewrite changes (`uint8-input`), which a user has to allow; or None."""
    return getattr(load(rewrite), "INTERFACE", None)


def interfaces() -> tuple[str, ...]:
    """All that `--allow-interface` may allow, sorted."""
    return tuple(sorted({found for name in in_order() if (found := changes(name)) is not None}))


def is_usual(rewrite: str) -> bool:
    """Whether the well-known recipes make a rewrite everywhere: it is exact, and hardly ever slower.

    A file that sets `SITUATIONAL = True` says that it is faster in some places and slower in others: then
    only the search decides, place by place. A change of the interface is no recipe's.
    """
    situational = getattr(load(rewrite), "SITUATIONAL", False) or changes(rewrite) is not None
    return is_exact(rewrite) and not situational


def load(name: str) -> Rewrite:
    """One rewrite by name.

    Raises:
        ConfigError: No such rewrite.
    """
    return cast(Rewrite, plugins.load(FAMILY, name))


@cache
def in_order() -> tuple[str, ...]:
    """The names of all rewrites, in the order in which they are applied."""
    return tuple(sorted(plugins.names(FAMILY), key=lambda name: (load(name).ORDER, name)))


def _is_found(model: onnx_ir.Model, name: str) -> bool:
    """Whether a rewrite applies anywhere: a look, which changes nothing."""
    rules = load(name).RULES
    return any(isinstance(rule.find(model, node), Found) for node in model.graph for rule in rules)


def _exhaust(model: onnx_ir.Model, name: str, enabled: Callable[[str, str], bool]) -> list[Application]:
    """Apply one rewrite wherever it is enabled, walking the graph until a walk finds nothing."""
    limit = 4 * len(model.graph) + 16
    applications: list[Application] = []
    changed = True
    while changed:
        changed = False
        for node in model.graph:  # the graph's iterator allows changes while it walks
            region = region_of(node)
            if not enabled(name, region):
                continue
            if (removed := _apply_at(model, name, node, region)) is not None:
                applications.append(Application(name, region, removed))
                changed = True
                if len(applications) > limit:
                    raise RewriteError(f"rewrite {name} does not come to an end (at {node.name})")
    return applications


def _apply_at(model: onnx_ir.Model, name: str, node: onnx_ir.Node, region: str) -> tuple[str, ...] | None:
    for rule in load(name).RULES:
        found = rule.find(model, node)
        if isinstance(found, Found):
            removed = tuple(str(old.name) for old in found.nodes)
            new = found.replace()
            if new is None:
                continue
            for made in new:
                made.metadata_props.update({REGION_TAG: region, MADE_BY: name})
            return removed
    return None


def _refusal_at(model: onnx_ir.Model, name: str, node: onnx_ir.Node) -> Iterator[Refusal]:
    refused: Refusal | None = None
    for rule in load(name).RULES:
        found = rule.find(model, node)
        if isinstance(found, Found):
            return
        refused = refused or found
    if refused is not None:
        yield refused


def _remove_dead(
    graph: onnx_ir.Graph, dead_before: set[onnx_ir.Node], unused_before: set[onnx_ir.Value]
) -> None:
    """Remove what became unused; what was unused in the given model is none of our business."""
    for node in reversed(graph):
        if node not in dead_before and _is_dead(node):
            graph.remove(node, safe=True)
    for value in list(graph.initializers.values()):
        if value not in unused_before and _is_unused(value):
            graph.initializers.pop(str(value.name))


def _is_dead(node: onnx_ir.Node) -> bool:
    return all(_is_unused(output) for output in node.outputs)


def _is_unused(value: onnx_ir.Value) -> bool:
    return not value.uses() and not value.is_graph_output()
