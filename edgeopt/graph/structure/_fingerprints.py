"""What the result of a refit depends on: a digest of all that is computed before a layer."""

from __future__ import annotations

from hashlib import sha256

import onnx_ir as ir

from edgeopt.core.digest import value_digest
from edgeopt.graph.structure._groups import ROWS
from edgeopt.graph.structure._residual import Sum

FORMAT = 2
"""Of what is computed: raised when the same inputs give other weights."""


class Fingerprints:
    """Digests of the nodes of a changed graph, before any of its layers is refitted.

    Args:
        graph: Not to be changed while this is made.
        original: Digest of the original and of the samples.
    """

    def __init__(self, graph: ir.Graph, original: str) -> None:
        self._original = original
        self._nodes: dict[ir.Node, str] = {}
        constants: dict[ir.Value, str] = {}
        for node in graph:
            read = []
            for value in node.inputs:
                producer = value.producer() if value is not None else None
                if value is None:
                    read.append("")
                elif producer is not None:
                    read.append(f"{self._nodes[producer]} {value.index()}")
                elif value.const_value is not None:
                    if value not in constants:
                        content = value.const_value.numpy()
                        constants[value] = f"{content.shape} {sha256(content.tobytes()).hexdigest()}"
                    read.append(constants[value])
                else:
                    read.append(str(value.name))
            attributes = sorted(f"{name}={attribute.value!r}" for name, attribute in node.attributes.items())
            rows = node.metadata_props.get(ROWS, "")
            self._nodes[node] = value_digest(node.domain, node.op_type, attributes, read, rows)

    def of(self, node: ir.Node, index: int, beside: Sum | None) -> str:
        """Of the matrix in an input of a layer, with the sum behind it."""
        other: list[str] = []
        if beside is not None:
            producer = beside.other.producer()
            source = str(beside.other.name) if producer is None else self._nodes[producer]
            other = [source, str(beside.other.index()), sha256(beside.scale.tobytes()).hexdigest()]
        return value_digest(FORMAT, self._original, self._nodes[node], index, other)
