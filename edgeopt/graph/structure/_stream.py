"""Runs a model in stretches over the same samples, so that each node is run about once for each sample.

Between stretches, what the rest of the model reads is kept for every sample, if that is not too much; else
the next stretch begins where the last one did.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from itertools import islice

import numpy as np
import onnx_ir as ir
from numpy.typing import NDArray

from edgeopt.graph.calibration import Samples
from edgeopt.graph.flops import node_flops
from edgeopt.graph.reading import bodies
from edgeopt.graph.serialize import to_bytes
from edgeopt.runtimes.onnxruntime import Session

Tensors = Mapping[str, NDArray[np.generic]]

BUDGET_BYTES = 256 << 20
SMALL_FLOPS = 100e6
"""Below this, threads wait for each other longer than they compute."""


class Stream:
    """A model on its way through samples.

    Args:
        model: May be changed between two stretches, behind what was run already.
        part: Of which the first `count` samples are run.
    """

    def __init__(self, model: ir.Model, part: Samples, count: int) -> None:
        self._model, self._part, self._count = model, part, count
        self._kept: list[Tensors] | None = None
        flops = sum(node_flops(node) or 0 for node in model.graph)
        self._options = {"threads": 1 if flops < SMALL_FLOPS else 0, "graph_optimization_level": "basic"}

    def run(self, wanted: Iterable[str], is_done: Callable[[ir.Node], bool]) -> Iterator[Tensors]:
        """Of each sample the wanted tensors, and others.

        Args:
            wanted: Names of tensors.
            is_done: Whether a node will be run for the last time; with it, all before it.

        Raises:
            ModelError: The runtime refuses the model.
            CandidateFailed: It cannot compute a sample.
        """
        open_values = _read_later(self._model.graph, is_done)
        names = list(dict.fromkeys([*wanted, *open_values]))
        given = set(self._kept[0]) if self._kept else {str(v.name) for v in self._model.graph.inputs}
        outputs = [name for name in names if name not in given]
        session = Session(_stretch(self._model, given, outputs), self._options) if outputs else None
        kept: list[Tensors] | None = []
        held = 0
        for feeds in self._kept or islice(self._part.samples(), self._count):
            found = session.run(feeds) if session is not None else []
            values = {**feeds, **dict(zip(outputs, found, strict=True))}
            if kept is not None:
                kept.append({name: values[name] for name in open_values})
                held += sum(array.nbytes for array in kept[-1].values())
                kept = kept if held <= BUDGET_BYTES and kept[-1] else None
            yield values
        if kept:
            self._kept = kept


def _read_later(graph: ir.Graph, is_done: Callable[[ir.Node], bool]) -> list[str]:
    """Values that nodes which are not done read of those which are, and of the model's inputs."""
    names: dict[str, None] = {}
    for node in graph:
        for value in node.inputs if not is_done(node) else ():
            producer = value.producer() if value is not None else None
            if value is not None and not value.is_initializer() and (producer is None or is_done(producer)):
                names[str(value.name)] = None
    return list(names)


def _stretch(model: ir.Model, given: set[str], outputs: Sequence[str]) -> bytes:
    """The part of a model that computes `outputs` from `given`; the whole one where bodies read values."""
    copy = model.clone()
    graph = copy.graph
    has_bodies = next(bodies(graph), None) is not None
    by_name = {str(value.name): value for node in graph for value in node.outputs if value.name}
    for name in given if not has_bodies else ():
        if (value := by_name.get(name)) is not None:
            value.name = None
            begin = ir.Value(name=name, shape=value.shape, type=value.type)
            graph.inputs.append(begin)
            value.replace_all_uses_with(begin, replace_graph_outputs=True)
            by_name[name] = begin
    graph.outputs[:] = [by_name[name] for name in outputs]
    for node in reversed(list(graph)):
        if not any(output.uses() or output.is_graph_output() for output in node.outputs):
            graph.remove(node, safe=True)
    graph.inputs[:] = [value for value in graph.inputs if value.uses()]
    for name, value in list(graph.initializers.items()):
        if not value.uses():
            graph.initializers.pop(name)
    return to_bytes(copy)
