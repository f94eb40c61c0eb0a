"""What a graph asks of a machine, node by node: the input of every latency model."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

Compute = Literal["float32", "float16", "int8"]


@dataclass(frozen=True, slots=True)
class NodeCost:
    """What one executed node asks of a machine, one inference.

    Attributes:
        name: Of the node, as in the graph.
        op_type: Of the node.
        flops: Arithmetic operations (2 per multiply-add).
        read_bytes: Activations and weights read.
        write_bytes: Activations written.
        compute: Type of its arithmetic.
        weight_bytes: The part of `read_bytes` that is the same in every inference.
    """

    name: str
    op_type: str
    flops: int
    read_bytes: int
    write_bytes: int
    compute: Compute
    weight_bytes: int = 0
