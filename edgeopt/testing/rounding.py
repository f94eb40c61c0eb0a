"""Whether two models differ by no more than rounding does, where an output is little else than rounding.

Some outputs cancel: mean(x) + mean(-x) is 0 but for rounding, and an error relative to it says nothing.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

import numpy as np
import onnx_ir
from numpy.typing import NDArray

from edgeopt.graph import equivalence
from edgeopt.graph.interface import interface_in
from edgeopt.graph.model import Model, to_bytes
from edgeopt.graph.reading import read_by
from edgeopt.runtimes.feeding import fed
from edgeopt.testing.rewrites import run

NUDGE = 1e-6
"""Relative change of inputs, ten times float32's rounding: what it does to outputs, rounding may do."""

NUDGES = 4

MOST = 1e-5
"""Largest excused error, relative to the largest magnitude of all that an output is computed from."""

Array = NDArray[Any]


def is_rounding(original: Model, rewritten: bytes, rtol: float) -> bool:
    """Whether each output differs by at most `rtol`, or by what rounding can do and no more than `MOST`.

    Types, shapes, integers and what is not finite must be equal.

    Args:
        original: Frozen.
        rewritten: Content of the rewritten file.
        rtol: Error allowed anyway, relative to the largest magnitude of the output.
    """
    equivalence.check_file(rewritten)
    before, interface = to_bytes(original.ir), interface_in(rewritten)
    levels = {change.name: change.levels for change in interface if change.levels is not None}
    for feeds in equivalence.random_feeds(original.inputs, equivalence.RANDOM_SAMPLES, 0, levels):
        expected, found = run(before, feeds), run(rewritten, fed(interface, feeds))
        near = [run(before, _nudged(feeds, seed)) for seed in range(NUDGES)]
        behind = _magnitudes(original.ir, feeds)
        for index, (one, other) in enumerate(zip(expected, found, strict=True)):
            if (one.dtype, one.shape) != (other.dtype, other.shape):
                return False
            if equivalence.worst_error(one, other) <= (rtol if one.dtype.kind == "f" else 0):
                continue
            spread = max(_largest_difference(one, each[index]) for each in near)
            if not _largest_difference(one, other) <= min(4 * spread, MOST * behind[index]):
                return False
    return True


def _nudged(feeds: Mapping[str, Array], seed: int) -> dict[str, Array]:
    rng = np.random.default_rng(seed)
    return {
        name: (array * (1 + NUDGE * rng.standard_normal(array.shape))).astype(array.dtype)
        if array.dtype.kind == "f"
        else array
        for name, array in feeds.items()
    }


def _largest_difference(one: Array, other: Array) -> float:
    """Infinite where shapes differ, or one of two numbers is not finite."""
    if one.shape != other.shape or one.dtype.kind != "f":
        return float("inf")
    with np.errstate(invalid="ignore"):
        difference = np.abs(one.astype(np.float64) - other.astype(np.float64))
    same = (one == other) | (np.isnan(one) & np.isnan(other))
    return float(np.where(same, 0, np.nan_to_num(difference, nan=np.inf)).max(initial=0))


def _magnitudes(model: onnx_ir.Model, feeds: Mapping[str, Array]) -> list[float]:
    """By output: the largest finite magnitude of the floats that it is computed from, weights left out."""
    watched = model.clone()
    graph = watched.graph
    names = [str(value.name) for value in graph.outputs]
    floats = [value for node in graph for value in node.outputs if _is_float(value)]
    graph.outputs.extend(value for value in floats if not value.is_graph_output())
    given = zip((str(value.name) for value in graph.outputs), run(to_bytes(watched), feeds), strict=True)
    found = {name: _largest(array) for name, array in (*given, *feeds.items())}
    by_name = {str(value.name): value for value in graph.outputs}
    return [max((found.get(name, 0.0) for name in _behind(by_name[output])), default=0.0) for output in names]


def _is_float(value: onnx_ir.Value) -> bool:
    return bool(value.name) and value.dtype is not None and value.dtype.is_floating_point()


def _largest(array: Array) -> float:
    floats = array if array.dtype.kind == "f" else np.zeros(0)
    return float(np.abs(floats[np.isfinite(floats)]).max(initial=0))


def _behind(value: onnx_ir.Value) -> Iterable[str]:
    """Names of the value and of all that it is computed from."""
    pending, seen = [value], {value}
    while pending:
        value = pending.pop()
        yield str(value.name)
        node = value.producer()
        new = [each for each in read_by(node) if each not in seen] if node is not None else []
        seen.update(new)
        pending += new
