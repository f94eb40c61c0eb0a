"""Compute once what several nodes compute alike.

    y = f(x, c), z = f(x, c)   =>   z = y

Before:
    Relu(x), Relu(x)
After:
    Relu(x)

Weights: shared, or equal and of at most 64 elements (shapes, axes, scalars).

Does not apply when:
    - the result is an output of the model: it has to keep a name of its own,
    - the operator is random, holds a graph, or is of another domain,
    - an input or an attribute differs.

Source: common-subexpression elimination; Aho, Sethi & Ullman 1986, section 9.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial

import numpy as np
import onnx_ir

from edgeopt.graph.matching import Found, Refusal
from edgeopt.graph.reading import has_subgraph
from edgeopt.graph.rewrites import Example

ORDER = 13
EXACT = True
RTOL = 0.0

MAX_READERS = 64
"""Of the value that both must read: each of them is compared."""

_SMALL = 64

_RANDOM = frozenset({
    "RandomNormal", "RandomNormalLike", "RandomUniform", "RandomUniformLike", "Multinomial", "Bernoulli",
    "Dropout",
})  # fmt: skip


class MergeEqualNodes:
    """A node that repeats one before it."""

    def find(self, model: onnx_ir.Model, node: onnx_ir.Node) -> Found | Refusal | None:
        """See `edgeopt.graph.rewrites.Rule`."""
        read = next((v for v in node.inputs if v is not None and not v.is_initializer()), None)
        if read is None or node.domain or node.op_type in _RANDOM:
            return None
        uses = read.uses()
        if not 1 < len(uses) <= MAX_READERS:
            return None
        alike = [use.node for use in uses if use.node is not node and _equal(use.node, node)]
        if not alike:
            return None
        first = next(each for each in model.graph if each is node or each in alike)
        if first is node:
            return None
        if any(output.is_graph_output() for output in node.outputs):
            return Refusal("its result is an output of the model")
        return Found((node,), partial(_merge, node, first))


def _equal(one: onnx_ir.Node, other: onnx_ir.Node) -> bool:
    return (
        one.op_type == other.op_type
        and one.domain == other.domain
        and one.graph is other.graph
        and len(one.inputs) == len(other.inputs)
        and [bool(v.name) for v in one.outputs] == [bool(v.name) for v in other.outputs]
        and not has_subgraph(one)
        and all(_same_value(a, b) for a, b in zip(one.inputs, other.inputs, strict=True))
        and one.attributes.keys() == other.attributes.keys()
        and all(_same_attribute(a, other.attributes[name]) for name, a in one.attributes.items())
    )


def _same_value(one: onnx_ir.Value | None, other: onnx_ir.Value | None) -> bool:
    if one is other:
        return True
    if one is None or other is None or not (one.is_initializer() and other.is_initializer()):
        return False
    return _same_tensor(one.const_value, other.const_value)


def _same_tensor(one: onnx_ir.TensorProtocol | None, other: onnx_ir.TensorProtocol | None) -> bool:
    if one is None or other is None or one.dtype != other.dtype or one.shape != other.shape:
        return False
    if one.size > _SMALL or one.dtype == onnx_ir.DataType.STRING:
        return False
    return np.asarray(one.numpy()).tobytes() == np.asarray(other.numpy()).tobytes()


def _same_attribute(one: onnx_ir.Attr, other: onnx_ir.Attr) -> bool:
    if one.type != other.type or one.is_ref() or other.is_ref():
        return False
    if one.type == onnx_ir.AttributeType.TENSOR:
        return _same_tensor(one.as_tensor(), other.as_tensor())
    return bool(one.value == other.value)


def _merge(node: onnx_ir.Node, first: onnx_ir.Node) -> Sequence[onnx_ir.Node]:
    for old, kept in zip(node.outputs, first.outputs, strict=True):
        old.replace_all_uses_with(kept)
    if node.graph is not None:
        node.graph.remove(node, safe=True)
    return []


RULES = (MergeEqualNodes(),)


def _example(
    body: str, becomes: tuple[str, ...] | None, reason: str = "", out: str = "float[2,3] y"
) -> Example:
    return Example(
        f"""<ir_version: 8, opset_import: ["": 17]> agraph (float[2,3] x) => ({out})
        <int64[1] one = {{1}}, int64[1] uno = {{1}}, int64[1] two = {{2}}> {{ {body} }}""",
        becomes,
        reason,
    )


EXAMPLES = (
    _example("a = Relu(x) b = Relu(x) y = Add(a, b)", ("Relu", "Add")),
    _example("a = Unsqueeze(x, one) b = Unsqueeze(x, uno) s = Sin(a) t = Sin(b) y = Add(s, t)",
             ("Unsqueeze", "Sin", "Add"), out="float[2,1,3] y"),
    _example("a = Unsqueeze(x, one) b = Unsqueeze(x, two) y = Add(a, b)", None, out="float[2,3,3] y"),
    _example("a = LeakyRelu <alpha = 0.1> (x) b = LeakyRelu <alpha = 0.2> (x) y = Add(a, b)", None),
    _example("y = Relu(x) z = Relu(x)", None, "output of the model", out="float[2,3] y, float[2,3] z"),
)  # fmt: skip
