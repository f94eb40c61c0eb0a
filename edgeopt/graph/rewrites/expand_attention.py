"""Write an attention operator in plain operators: the opposite of `fuse_attention`.

    y = merge_heads(softmax(scale * Q K^T + mask) V)      with Q, K, V split into heads

Before:
    com.microsoft.MultiHeadAttention(query, key, value, bias, -, mask);   Attention(query, key, value, mask)
After:
    Add (bias), Reshape and Transpose of each of query, key and value; MatMul, Mul, Add (mask), Softmax,
    MatMul; Transpose, Reshape

Weights: bias is (heads * size + heads * size + heads * value size,), cut into three.

Does not apply when:
    - it keeps earlier keys and values, has a padding mask, or looks at earlier tokens only; Attention also
      with a cap, or a mask that is not added,
    - query, key and value are not of shape (N, S, heads * size), or share heads,
    - `fuse_attention` made it.

For runtimes that lack the operator, and where its products are to be quantized: int8 kernels exist for MatMul
only.

Source: onnxruntime ContribOperators: MultiHeadAttention; ONNX Attention-23.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import onnx_ir

from edgeopt.graph.attention import SPLIT_HEADS, TRANSPOSED_HEADS
from edgeopt.graph.constants import array_of
from edgeopt.graph.contributed import DOMAIN
from edgeopt.graph.expressions import constant, replacement
from edgeopt.graph.flops import sizes
from edgeopt.graph.matching import Found, Refusal, made
from edgeopt.graph.rewrites import Example
from edgeopt.graph.rewriting import MADE_BY

ORDER = 15
EXACT = True
SITUATIONAL = True
RTOL = 1e-4

OPPOSITE = "fuse_attention"


@dataclass(frozen=True, slots=True)
class _Given:
    """What an operator says of itself.

    Attributes:
        sources: Query, key and value.
        biases: Added to each of them first; None for 0.
        heads: Their number.
        scale: Of the scores; None for one over the square root of a head's size.
        mask: Added to the scores; None for 0.
    """

    sources: Sequence[onnx_ir.Value]
    biases: onnx_ir.Value | None
    heads: int
    scale: float | None
    mask: onnx_ir.Value | None


class ExpandAttention:
    """An attention operator."""

    def find(self, model: onnx_ir.Model, node: onnx_ir.Node) -> Found | Refusal | None:
        """See `edgeopt.graph.rewrites.Rule`."""
        kind = (node.domain, node.op_type)
        if kind not in ((DOMAIN, "MultiHeadAttention"), ("", "Attention")):
            return None
        if node.metadata_props.get(MADE_BY) == OPPOSITE:
            return None
        given = _of_runtime(node) if node.domain else _of_onnx(node)
        if not isinstance(given, _Given):
            return given
        shapes = [sizes(value) for value in given.sources]
        if any(shape is None or len(shape) != 3 or shape[2] % given.heads for shape in shapes):
            return Refusal("query, key and value are not of shape (N, S, heads * size)")
        if any(output.uses() or output.is_graph_output() for output in node.outputs[1:]):
            return Refusal("it has further results")
        if given.biases is not None and array_of(given.biases) is None:
            return Refusal("its bias is computed")

        def make() -> tuple[list[onnx_ir.Node], list[onnx_ir.Value]]:
            new = _Writer(model.graph, str(node.outputs[0].name)).write(given)
            return new, [new[-1].outputs[0]]

        return replacement(model.graph, [node], [node.outputs[0]], make)


def _input(node: onnx_ir.Node, index: int) -> onnx_ir.Value | None:
    return node.inputs[index] if index < len(node.inputs) else None


def _of_runtime(node: onnx_ir.Node) -> _Given | Refusal:
    sources = [value for value in (_input(node, index) for index in range(3)) if value is not None]
    if len(sources) < 3:
        return Refusal("query, key and value are packed into one")
    if any(_input(node, index) is not None for index in (4, 6, 7, 8, 9)):
        return Refusal("it has a padding mask, or keeps earlier keys and values")
    if node.attributes.get_int("unidirectional", 0):
        return Refusal("it looks at earlier tokens only")
    heads = node.attributes.get_int("num_heads", 1) or 1
    return _Given(sources, _input(node, 3), heads, _scale(node), _input(node, 5))


def _of_onnx(node: onnx_ir.Node) -> _Given | Refusal:
    attributes = node.attributes
    sources = [value for value in node.inputs[:3] if value is not None]
    heads, shared = (attributes.get_int(name, None) for name in ("q_num_heads", "kv_num_heads"))
    if heads is None or heads != shared or len(sources) < 3:
        return Refusal("query, key and value are not of shape (N, S, heads * size), or share heads")
    if any(_input(node, index) is not None for index in range(4, len(node.inputs))):
        return Refusal("it has a padding mask, or keeps earlier keys and values")
    if attributes.get_int("is_causal", 0) or attributes.get_float("softcap", 0):
        return Refusal("it looks at earlier tokens only, or caps the scores")
    mask = _input(node, 3)
    if mask is not None and mask.dtype != sources[0].dtype:
        return Refusal("its mask is not added")
    return _Given(sources, None, heads, _scale(node), mask)


def _scale(node: onnx_ir.Node) -> float | None:
    """None where it is not given; onnxruntime takes 0 for that, too."""
    return node.attributes.get_float("scale", None) or None


class _Writer:
    """Writes the plain operators, one after the other."""

    def __init__(self, graph: onnx_ir.Graph, name: str) -> None:
        self._graph, self._name = graph, name
        self._nodes: list[onnx_ir.Node] = []

    def write(self, given: _Given) -> list[onnx_ir.Node]:
        """All nodes; the last one's output is the attention's."""
        query, key, value = self._biased(given)
        (batch, rows, width), (_, length, depth) = sizes(query) or (), sizes(value) or ()
        heads, size = given.heads, width // given.heads
        scale = given.scale if given.scale is not None else 1 / math.sqrt(size)
        factor = constant(self._graph, f"{self._name}_scale", np.asarray(scale, self._dtype(query)))
        split_query = self._split(query, heads, SPLIT_HEADS)
        split_key = self._split(key, heads, TRANSPOSED_HEADS)
        split_value = self._split(value, heads, SPLIT_HEADS)
        scores = (batch, heads, rows, length)
        found = self._put("MatMul", [split_query, split_key], scores)
        found = self._put("Mul", [found, factor], scores)
        if given.mask is not None:
            found = self._put("Add", [found, given.mask], scores)
        found = self._put("Softmax", [found], scores, {"axis": -1 if self._softmax_is_one_axis() else 3})
        found = self._put("MatMul", [found, split_value], (batch, heads, rows, depth // heads))
        order = (batch, rows, heads, depth // heads)
        found = self._put("Transpose", [found], order, {"perm": SPLIT_HEADS})
        self._reshape(found, (batch, rows, depth))
        return self._nodes

    def _softmax_is_one_axis(self) -> bool:
        return self._graph.opset_imports.get("", 1) >= 13

    def _biased(self, given: _Given) -> list[onnx_ir.Value]:
        array = array_of(given.biases)
        if array is None:
            return list(given.sources)
        ends = np.cumsum([(sizes(source) or (0,))[-1] for source in given.sources])
        return [
            self._put("Add", [source, constant(self._graph, f"{self._name}_bias", part)], sizes(source) or ())
            for source, part in zip(given.sources, np.split(array, ends[:2]), strict=True)
        ]

    def _split(self, source: onnx_ir.Value, heads: int, order: list[int]) -> onnx_ir.Value:
        batch, length, width = sizes(source) or ()
        shape = (batch, length, heads, width // heads)
        return self._put(
            "Transpose", [self._reshape(source, shape)], [shape[axis] for axis in order], {"perm": order}
        )

    def _reshape(self, value: onnx_ir.Value, shape: Sequence[int]) -> onnx_ir.Value:
        target = constant(self._graph, f"{self._name}_shape", np.asarray(shape, np.int64))
        return self._put("Reshape", [value, target], shape)

    def _put(
        self,
        operator: str,
        inputs: Sequence[onnx_ir.Value],
        shape: Sequence[int],
        attributes: dict[str, int | list[int]] | None = None,
    ) -> onnx_ir.Value:
        node = made(operator, inputs, attributes or {}, shape, inputs[0].dtype)
        self._nodes.append(node)
        return node.outputs[0]

    @staticmethod
    def _dtype(value: onnx_ir.Value) -> np.dtype[np.generic]:
        return (value.dtype or onnx_ir.DataType.FLOAT).numpy()


RULES = (ExpandAttention(),)


def _example(
    body: str, becomes: tuple[str, ...] | None, reason: str = "", opset: int = 17, key: str = "2,5,4"
) -> Example:
    return Example(
        f"""<ir_version: 8, opset_import: ["": {opset}, "com.microsoft": 1]>
        agraph (float[2,3,4] q, float[{key}] k, float[2,5,6] v, float[1,1,3,5] m) => (float[2,3,6] y)
          <float[14] b = {{1, 2, 3, 4, -1, 0.5, 2, 0, 9, 1, 3, 2, -4, 5}}>
        {{ {body} }}""",
        becomes,
        reason,
    )


_MHA = "com.microsoft.MultiHeadAttention"
_ONNX = "Attention <q_num_heads = 2, kv_num_heads = 2"
_SPLIT = ("Reshape", "Transpose") * 3
_END = ("Softmax", "MatMul", "Transpose", "Reshape")

EXAMPLES = (
    _example(f"a = {_MHA} <num_heads = 2> (q, k, v) y = Neg(a)", (*_SPLIT, "MatMul", "Mul", *_END, "Neg")),
    _example(
        f"a = {_MHA} <num_heads = 2, scale = 0.3> (q, k, v, b, , m) y = Neg(a)",
        ("Add", "Add", "Add", *_SPLIT, "MatMul", "Mul", "Add", *_END, "Neg"),
    ),
    _example(f"y = {_ONNX}> (q, k, v, m)", (*_SPLIT, "MatMul", "Mul", "Add", *_END), opset=23),
    _example(
        f"a = {_MHA} <num_heads = 2, unidirectional = 1> (q, k, v) y = Neg(a)", None, "earlier", key="2,5,4"
    ),
    _example(f"y = {_ONNX}, softcap = 2.0> (q, k, v)", None, "caps", opset=23),
)
