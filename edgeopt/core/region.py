"""A region: nodes that are decided together."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Region:
    """A group of neighbouring nodes of the frozen model, the unit of every per-site decision.

    Attributes:
        name: Stable and readable, from the anchor node (`/layer1/conv`); unique in the model.
        pattern: Hash of operators, attributes and shapes: repeated blocks share it.
        nodes: Names of its nodes, in topological order.
        op_types: Operator types of `nodes`, in the same order.
        inputs: Names of activations that it reads from outside.
        outputs: Names of activations that others read from it.
        predecessors: Names of the regions that produce `inputs`.
        flops: Floating-point operations of one inference (2 per multiply-add).
        weight_bytes: Size of its initializers.
        input_bytes: Size of its activations read, one inference.
        output_bytes: Size of its activations written, one inference.
    """

    name: str
    pattern: str
    nodes: tuple[str, ...]
    op_types: tuple[str, ...]
    inputs: tuple[str, ...]
    outputs: tuple[str, ...]
    predecessors: tuple[str, ...]
    flops: int
    weight_bytes: int
    input_bytes: int
    output_bytes: int
