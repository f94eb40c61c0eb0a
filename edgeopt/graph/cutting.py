"""Takes a graph apart between its regions, so that each can be changed without the others seeing it."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from hashlib import sha256
from typing import TypeVar

import numpy as np
import onnx_ir as ir
from numpy.typing import NDArray

from edgeopt.core.digest import value_digest
from edgeopt.graph.regions import region_of

SUFFIX = "__cut"

Value = TypeVar("Value")


@dataclass(frozen=True, slots=True)
class Cut:
    """A graph and the same graph in pieces.

    Attributes:
        watched: The unchanged graph, in which every value between two regions is an output.
        graph: The pieces: what a region reads of another is an input; the same outputs.
        sources: Name of each such input -> name of the value that it stands for.
        outputs: Region -> names of the values that others read of it, and of the model's outputs.
    """

    watched: ir.Model
    graph: ir.Model
    sources: Mapping[str, str]
    outputs: Mapping[str, Sequence[str]] = field(default_factory=dict)

    def renamed(self, values: Mapping[str, Value]) -> dict[str, Value]:
        """What is known of values, also under the names by which the pieces read them."""
        cut = {name: values[source] for name, source in self.sources.items() if source in values}
        return {**values, **cut}


def cut(model: ir.Model) -> Cut:
    """Take a graph apart; the model itself is not changed.

    Values that a body (If, Loop, Scan) reads, and values of unknown type, are left connected.

    Args:
        model: Tagged with its regions.
    """
    watched, graph = model.clone(), model.clone()
    outputs: dict[str, list[str]] = {}
    sources: dict[str, str] = {}
    for node in tuple(graph.graph):
        region = region_of(node)
        for value in node.outputs:
            readers = [(user, index) for user, index in value.uses() if user.graph is graph.graph]
            apart = [(user, index) for user, index in readers if region_of(user) != region]
            if value.is_graph_output():
                outputs.setdefault(region, []).append(str(value.name))
            if not apart or not isinstance(value.type, ir.TensorType):
                continue
            read = ir.Value(name=f"{value.name}{SUFFIX}", type=value.type, shape=value.shape)
            for user, index in apart:
                user.replace_input_with(index, read)
            graph.graph.inputs.append(read)
            sources[str(read.name)] = str(value.name)
            if not value.is_graph_output():
                graph.graph.outputs.append(value)
                outputs.setdefault(region, []).append(str(value.name))
    _watch(watched.graph, [str(value.name) for value in graph.graph.outputs])
    return Cut(watched, graph, sources, outputs)


def fingerprints(
    apart: Cut,
    samples: Sequence[Mapping[str, NDArray[np.generic]]],
    ranges: Mapping[str, tuple[float, float] | None],
) -> Mapping[str, str]:
    """Region -> digest of its operators, its constants, its values' ranges, and what it reads in the samples.

    Names are not part of it: equal blocks that read the same have the same.
    """
    nodes: dict[str, list[ir.Node]] = {}
    for node in apart.graph.graph:
        nodes.setdefault(region_of(node), []).append(node)
    read = {name: _digest([one[source] for one in samples]) for name, source in _inputs(apart).items()}
    known = apart.renamed(ranges)
    return {region: _fingerprint(group, read, known) for region, group in nodes.items()}


def _inputs(apart: Cut) -> dict[str, str]:
    own = {str(value.name): str(value.name) for value in apart.watched.graph.inputs}
    return {**own, **apart.sources}


def _fingerprint(
    nodes: Sequence[ir.Node],
    read: Mapping[str, str],
    ranges: Mapping[str, tuple[float, float] | None],
) -> str:
    number: dict[ir.Value, str] = {}
    lines: list[object] = []
    for node in nodes:
        operands: list[object] = []
        for value in node.inputs:
            if value is None:
                operands.append("")
            elif value in number:
                operands.append(number[value])
            elif value.const_value is not None:
                operands.append(_digest([value.const_value.numpy()]))
            else:
                operands.append(read.get(str(value.name), str(value.name)))
                operands.append(ranges.get(str(value.name)))
        for value in node.outputs:
            number[value] = f"#{len(number)}"
        attributes = sorted(str(attribute) for attribute in node.attributes.values())
        spans = [ranges.get(str(value.name)) for value in node.outputs]
        lines.append([node.domain, node.op_type, node.version, attributes, operands, spans])
    return value_digest(lines)


def _watch(graph: ir.Graph, names: Sequence[str]) -> None:
    """Let the graph give these values, in this order."""
    known = {str(value.name): value for node in graph for value in node.outputs}
    known |= {str(value.name): value for value in graph.outputs}
    graph.outputs[:] = [known[name] for name in names]


def _digest(arrays: Iterable[NDArray[np.generic]]) -> str:
    """SHA-256 of types, shapes and values."""
    digest = sha256()
    for array in arrays:
        digest.update(f"{array.dtype}{array.shape}".encode())
        digest.update(np.ascontiguousarray(array).tobytes())
    return digest.hexdigest()
