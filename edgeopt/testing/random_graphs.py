"""Random graphs on which rewrites are tried, and what must hold of each: for rewrites of your own, too.

With hypothesis::

    @settings(max_examples=200, derandomize=True, deadline=None)
    @given(proto=random_graphs.models())
    def test_my_rewrite_keeps_every_graph(proto, tmp_path_factory):
        check(proto, tmp_path_factory.mktemp("graph"), enabled=lambda name: name == "my_rewrite")
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import onnx
from hypothesis import strategies as st

from edgeopt.core.errors import RewriteError
from edgeopt.core.interface import Levels
from edgeopt.graph import equivalence, rewriting
from edgeopt.graph.interface import annotate
from edgeopt.graph.model import Model, freeze, load, to_bytes
from edgeopt.graph.regions import regions, tag
from edgeopt.testing import graph_steps, graph_steps_of_sequences
from edgeopt.testing.graph_under_construction import Graph
from edgeopt.testing.rewrites import run
from edgeopt.testing.rounding import is_rounding

OPSETS = tuple(range(9, 22))
STEPS = graph_steps.STEPS + graph_steps_of_sequences.STEPS

RTOL = 1e-3
"""Largest error after all rewrites, relative to the largest magnitude of an output."""

SHAPES = ((1, 3, 6, 6), (2, 4, 5, 5), (1, 4, 8), (2, 3, 4), (1, 2, 7, 3), (4, 6), (1, 8), (3, 1, 4), (5,))


@st.composite
def models(draw: st.DrawFn, max_steps: int = 8, opsets: tuple[int, ...] = OPSETS) -> onnx.ModelProto:
    """Valid models with static shapes.

    Args:
        max_steps: Each adds one to ten nodes.
        opsets: Versions of the standard operators to choose from.
    """

    def choose(options: Any) -> Any:
        return draw(st.sampled_from(list(options)))

    graph = Graph(choose(opsets), choose, draw(st.integers(0, 999)))
    for _ in range(choose([1, 1, 2])):
        graph.input(choose(SHAPES))
    if choose([False, True]):
        graph.input(choose([(3,), (1, 4)]), "int64")
    for _ in range(draw(st.integers(1, max_steps))):
        floats = graph.floats()
        choose(STEPS)(graph, choose(floats[-4:] if choose([False, True, True]) else floats))
    if not graph.nodes:
        graph.add("Relu", [graph.values[0]], graph.values[0].shape)
    return graph.proto()


BYTES = Levels((1 / 48,), (-2.5,))
"""What inputs are made of where a rewrite takes the bytes: values as random ones are."""


def check(
    proto: onnx.ModelProto, folder: Path, enabled: Callable[[str], bool] = rewriting.is_exact
) -> Counter[str]:
    """Apply rewrites to a model and check all that is promised about the result.

    Args:
        folder: For the file.
        enabled: Which rewrites; by default all exact ones.

    Returns:
        How often each rewrite was applied.

    Raises:
        AssertionError: The result is invalid, computes something else, is not final, or the original changed.
    """
    path = folder / "graph.onnx"
    onnx.save_model(proto, path)
    original = freeze(load(path), {})
    annotate(original.ir, {spec.name: BYTES for spec in original.inputs})
    before = to_bytes(original.ir)
    applied, rewritten = _apply(original, enabled)
    assert to_bytes(original.ir) == before, "the given model was changed"  # noqa: S101 - a suite for tests
    try:
        equivalence.check(original, rewritten, [], run, rtol=RTOL)
    except RewriteError as error:
        if not is_rounding(original, rewritten, RTOL):
            raise AssertionError(f"{error.message} (applied: {dict(applied)})") from error
    return applied


def _apply(original: Model, enabled: Callable[[str], bool]) -> tuple[Counter[str], bytes]:
    graph = original.ir.clone()
    tag(graph, regions(original))
    applied = Counter(done.rewrite for done in rewriting.apply(graph, lambda name, _: enabled(name)))
    rewritten = to_bytes(graph)
    again = Counter(done.rewrite for done in rewriting.apply(graph, lambda name, _: enabled(name)))
    assert not again, f"a second application still finds {dict(again)} (applied: {dict(applied)})"  # noqa: S101
    return applied, rewritten
