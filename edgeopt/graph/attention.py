"""Reads scaled dot-product attention that is written in plain operators."""

from __future__ import annotations

from dataclasses import dataclass, field

import onnx_ir

from edgeopt.graph.expressions import producer, product_of
from edgeopt.graph.flops import sizes
from edgeopt.graph.matching import Refusal

SPLIT_HEADS, TRANSPOSED_HEADS, LAST_TWO = [0, 2, 1, 3], [0, 2, 3, 1], [0, 1, 3, 2]

NO_HEADS = Refusal("query, key or value is not of shape (N, S, heads * size), split into its heads")


@dataclass(slots=True)
class Attention:
    """`softmax(scale * Q K^T + mask) V`, per head.

    Attributes:
        query: (N, S, heads * size).
        key: (N, L, heads * size).
        value: (N, L, heads * value_size).
        heads: Number of heads.
        scale: Of the scores.
        mask: Added to them, broadcast to (N, heads, S, L); None for 0.
        nodes: That compute all this, and merge the heads again.
    """

    query: onnx_ir.Value
    key: onnx_ir.Value
    value: onnx_ir.Value
    heads: int
    scale: float
    mask: onnx_ir.Value | None
    nodes: list[onnx_ir.Node] = field(default_factory=list)


@dataclass(slots=True)
class _Heads:
    """A factor of a product that was split into heads, and scaled."""

    source: onnx_ir.Value
    count: int
    scale: float
    is_transposed: bool
    nodes: list[onnx_ir.Node]


def attention(last: onnx_ir.Node) -> Attention | Refusal | None:
    """The attention whose heads the Reshape `last` merges; None where it is something else."""
    merged = producer(last.inputs[0], "Transpose")
    product = producer(merged.inputs[0], "MatMul") if merged is not None else None
    if merged is None or product is None or list(merged.attributes.get_ints("perm", ())) != SPLIT_HEADS:
        return None
    softmax = producer(product.inputs[0], "Softmax")
    if softmax is None or softmax.inputs[0] is None or product.inputs[1] is None:
        return None
    nodes = [last, merged, product, softmax]
    read = _scores(softmax.inputs[0])
    if read is None or softmax.attributes.get_int("axis", -1) not in (-1, 3):
        return None
    scores, scale, mask, above = read
    query, key, value = (_heads(v) for v in (scores.inputs[0], scores.inputs[1], product.inputs[1]))
    if query is None or key is None or value is None:
        return NO_HEADS
    if query.is_transposed or not key.is_transposed or value.is_transposed or value.scale != 1.0:
        return NO_HEADS
    whole = sizes(last.outputs[0])
    if not query.count == key.count == value.count or whole is None or len(whole) != 3:
        return NO_HEADS
    if whole != (*(sizes(query.source) or ())[:2], (sizes(value.source) or (0,))[-1]):
        return NO_HEADS
    nodes += [*above, scores, *query.nodes, *key.nodes, *value.nodes]
    total = scale * query.scale * key.scale
    return Attention(query.source, key.source, value.source, query.count, total, mask, nodes)


def _scores(
    value: onnx_ir.Value,
) -> tuple[onnx_ir.Node, float, onnx_ir.Value | None, list[onnx_ir.Node]] | None:
    """The product of query and key, its scale, the mask that is added to it, and the nodes in between."""
    added = producer(value, "Add")
    pairs = [(value, None)] if added is None else [tuple(added.inputs), tuple(reversed(added.inputs))]
    for scaled, mask in pairs:
        if scaled is None:
            continue
        read = product_of(scaled)
        product = producer(read.parts[0], "MatMul") if len(read.parts) == 1 else None
        if product is not None and not any(v is None or v.is_initializer() for v in product.inputs):
            return product, read.number, mask, [*read.nodes, *([added] if added is not None else [])]
    return None


def _heads(value: onnx_ir.Value | None) -> _Heads | None:
    """What was split into heads, through scales by numbers and Transposes."""
    nodes: list[onnx_ir.Node] = []
    scale, is_transposed = 1.0, False
    for _ in range(4):
        if value is None:
            return None
        read = product_of(value)
        if len(read.parts) != 1:
            return None
        scale *= read.number
        nodes += read.nodes
        node = producer(read.parts[0], "Transpose")
        if node is None:
            return None
        nodes.append(node)
        value, order = node.inputs[0], list(node.attributes.get_ints("perm", ()))
        if order == LAST_TWO:
            is_transposed = not is_transposed
            continue
        if order not in (SPLIT_HEADS, TRANSPOSED_HEADS) or value is None:
            return None
        if order == TRANSPOSED_HEADS:
            is_transposed = not is_transposed
        inner = product_of(value)
        reshape = producer(inner.parts[0], "Reshape") if len(inner.parts) == 1 else None
        if reshape is None or reshape.inputs[0] is None:
            return None
        split, whole = sizes(reshape.outputs[0]), sizes(reshape.inputs[0])
        if split is None or len(split) != 4 or whole != (*split[:2], split[2] * split[3]):
            return None
        found = [*nodes, *inner.nodes, reshape]
        return _Heads(reshape.inputs[0], split[2], scale * inner.number, is_transposed, found)
    return None
