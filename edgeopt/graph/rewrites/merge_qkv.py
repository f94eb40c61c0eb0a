"""Merge matrix products of one input, any number of them, into one product and a Split.

    x [A B C] = [x A, x B, x C]      columns side by side

Before:
    MatMul(x, A), MatMul(x, B), ...;  Add(MatMul(x, A), a), Add(MatMul(x, B), b), ...;
    Gemm(x, A, a), Gemm(x, B, b), ...
After:
    Split(MatMul(x, [A B ...]));   Split(Add(MatMul(x, [A B ...]), [a b ...]));
    Split(Gemm(x, [A B ...], [a b ...]))

Weights: A is (K, N_A), and so on; the merged one is (K, N_A + N_B + ...), or its transpose where Gemm's
transB is set; biases become (N_A + N_B + ...,).

Does not apply when:
    - only one product reads x so,
    - a weight is computed, or is no matrix (products without a constant weight are left alone, the others are
      merged),
    - Gemm transposes x, or alpha, beta, transB or the presence of a bias differ (each kind is merged by
      itself).

All siblings are merged at once, so a merged product has none left. onnxruntime does not do this. It pays
where the single products are too small to fill the processor; the Split costs a copy. Measured on one x86
core, in pairs of interleaved runs at level `all`: three products of one row 1.08 to 1.13
times as fast, of 16 rows 0.99 to 1.08, of 128 rows 0.95 to 1.0.

Static int8 takes the ranges of the merged product from those of its parts. A region of the first product
holds the merged one: its precision stands for all of them.

Source: ONNX MatMul-13, Gemm-13, Split-13; Vaswani et al. 2017, section 3.2.2 (query, key and value).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import onnx_ir
from numpy.typing import NDArray

from edgeopt.graph.constants import array_of
from edgeopt.graph.expressions import constant, opset_of, reader_of, replacement
from edgeopt.graph.flops import sizes
from edgeopt.graph.matching import Found, Refusal, made
from edgeopt.graph.rewrites import Example

ORDER = 58
EXACT = True
SITUATIONAL = True
RTOL = 1e-5

SIZES_AS_INPUT = 13
"""From this opset on, Split takes them as an input."""

Kind = tuple[object, ...]


@dataclass(frozen=True, slots=True)
class _Product:
    """One of the siblings.

    Attributes:
        node: MatMul or Gemm.
        added: The Add of its bias; None without.
        bias: (N,); None without.
        columns: N.
    """

    node: onnx_ir.Node
    added: onnx_ir.Node | None
    bias: NDArray[np.generic] | None
    columns: int

    @property
    def output(self) -> onnx_ir.Value:
        return (self.added or self.node).outputs[0]


class MergeSiblings:
    """The first of the products that read one value."""

    def find(self, model: onnx_ir.Model, node: onnx_ir.Node) -> Found | Refusal | None:
        """See `edgeopt.graph.rewrites.Rule`."""
        if node.domain or node.op_type not in ("MatMul", "Gemm"):
            return None
        x = node.inputs[0]
        if x is None or x.is_initializer() or len(x.uses()) < 2 or sizes(x) is None:
            return None
        others = [user for user, index in x.uses() if user is not node and index == 0]
        if not any(other.op_type == node.op_type and not other.domain for other in others):
            return None
        kind = _kind(node)
        if kind is None:
            return Refusal("the weight is no constant matrix, or the bias no constant vector")
        siblings = [user for user in (node, *others) if user.graph is node.graph and _kind(user) == kind]
        if len(siblings) < 2:
            return Refusal("no other product of this input is of the same form")
        return _merge(model, [_product(sibling) for sibling in siblings])


def _kind(node: onnx_ir.Node) -> Kind | None:
    """What siblings must agree on; None where a product cannot be merged."""
    if node.domain or node.op_type not in ("MatMul", "Gemm"):
        return None
    weight = node.inputs[1]
    if weight is None or not weight.is_initializer() or weight.const_value is None:
        return None
    if len(weight.const_value.shape) != 2:
        return None
    kind: Kind = (node.op_type, weight.const_value.dtype)
    if node.op_type == "MatMul":
        return kind
    attributes = node.attributes
    has_bias = len(node.inputs) > 2 and node.inputs[2] is not None
    if attributes.get_int("transA", 0) or (has_bias and _vector(node.inputs[2], _columns(node)) is None):
        return None
    numbers = tuple(attributes.get_float(name, 1.0) for name in ("alpha", "beta"))
    return (*kind, attributes.get_int("transB", 0), numbers, has_bias)


def _columns(node: onnx_ir.Node) -> int:
    shape = sizes(node.inputs[1]) or (0, 0)
    return shape[0] if node.attributes.get_int("transB", 0) else shape[1]


def _vector(value: onnx_ir.Value | None, columns: int) -> NDArray[np.generic] | None:
    """A constant bias as (N,); None for another form."""
    array = array_of(value)
    if array is None or array.size not in (1, columns) or (array.ndim and array.shape[-1] != array.size):
        return None
    return np.broadcast_to(array.reshape(-1), (columns,))


def _product(node: onnx_ir.Node) -> _Product:
    columns = _columns(node)
    if node.op_type == "Gemm":
        bias = _vector(node.inputs[2], columns) if len(node.inputs) > 2 else None
        return _Product(node, None, bias, columns)
    reader = reader_of(node.outputs[0])
    if reader is not None and reader.op_type == "Add" and not reader.domain and reader.graph is node.graph:
        other = reader.inputs[1] if reader.inputs[0] is node.outputs[0] else reader.inputs[0]
        bias = _vector(other, columns)
        if bias is not None and sizes(reader.outputs[0]) == sizes(node.outputs[0]):
            return _Product(node, reader, bias, columns)
    return _Product(node, None, None, columns)


def _merge(model: onnx_ir.Model, products: Sequence[_Product]) -> Found | Refusal:
    if products[0].node.op_type == "MatMul" and any(product.added is None for product in products):
        products = [_Product(product.node, None, None, product.columns) for product in products]
    old = [node for product in products for node in (product.node, product.added) if node is not None]
    results = [product.output for product in products]

    def make() -> tuple[list[onnx_ir.Node], list[onnx_ir.Value]]:
        new = _merged(model.graph, products)
        shape = sizes(new[-1].outputs[0]) or ()
        split = _split(model, new[-1].outputs[0], [product.columns for product in products])
        for output, product in zip(split.outputs, products, strict=True):
            output.shape = onnx_ir.Shape((*shape[:-1], product.columns))
        return [*new, split], list(split.outputs)

    first = next(node for node in model.graph if node in set(old))  # all that read a result come after it
    return replacement(model.graph, old, results, make, after=first)


def _merged(graph: onnx_ir.Graph, products: Sequence[_Product]) -> list[onnx_ir.Node]:
    first = products[0].node
    x = first.inputs[0]
    name = products[0].output.name
    transposed = first.attributes.get_int("transB", 0)
    weights = [np.asarray(array_of(product.node.inputs[1])) for product in products]
    weight = constant(graph, f"{name}_merged_weight", np.concatenate(weights, axis=0 if transposed else 1))
    shape = (*(sizes(x) or ())[:-1], sum(product.columns for product in products))
    biases = [product.bias for product in products if product.bias is not None]
    bias = constant(graph, f"{name}_merged_bias", np.concatenate(biases)) if biases else None
    if first.op_type == "Gemm":
        node = made(
            "Gemm", [x, weight, *([bias] if bias is not None else [])], first.attributes, shape, weight.dtype
        )
        return [node]
    product = made("MatMul", [x, weight], shape=shape, dtype=weight.dtype)
    if bias is None:
        return [product]
    return [product, made("Add", [product.outputs[0], bias], shape=shape, dtype=weight.dtype)]


def _split(model: onnx_ir.Model, value: onnx_ir.Value, columns: Sequence[int]) -> onnx_ir.Node:
    if opset_of(model) < SIZES_AS_INPUT:
        last = len(sizes(value) or ()) - 1
        attributes: dict[str, int | list[int]] = {"axis": last, "split": list(columns)}
        return made("Split", [value], attributes, dtype=value.dtype, outputs=len(columns))
    lengths = constant(model.graph, f"{value.name}_columns", np.asarray(columns, np.int64))
    return made("Split", [value, lengths], {"axis": -1}, dtype=value.dtype, outputs=len(columns))


RULES = (MergeSiblings(),)


def _example(
    body: str,
    becomes: tuple[str, ...] | None,
    reason: str = "",
    opset: int = 17,
    given: str = "2,3",
    out: str = "2,2",
) -> Example:
    return Example(
        f"""<ir_version: 8, opset_import: ["": {opset}]>
        agraph (float[{given}] x, float[3,2] w) => (float[{out}] y)
          <float[3,2] a = {{1, 2, 3, 4, 5, 6}}, float[3,2] b = {{3, -2, 0, 4, 1, 6}}, float[2] p = {{5, 9}},
           float[3,1] c = {{2, 0, 1}}, float[1] q = {{7}}, float[2,3] t = {{1, 2, 3, 4, 5, 6}},
           float[2] r = {{1, -1}}>
        {{ {body} }}""",
        becomes,
        reason,
    )


EXAMPLES = (
    _example(
        "k = MatMul(x, a) l = MatMul(x, b) m = MatMul(x, c) s = Add(k, l) y = Mul(s, m)",
        ("MatMul", "Split", "Add", "Mul"),
    ),
    _example(
        "k = MatMul(x, a) i = Add(k, p) j = Relu(i) l = MatMul(x, b) h = Add(r, l) y = Mul(h, j)",
        ("MatMul", "Add", "Split", "Relu", "Mul"),
        given="4,2,3",
        out="4,2,2",
    ),
    _example(
        "k = MatMul(x, a) i = Add(k, p) l = MatMul(x, b) y = Mul(l, i)", ("MatMul", "Split", "Add", "Mul")
    ),
    _example(
        "k = Gemm(x, a, p) l = Gemm(x, c, q) y = Concat <axis = 1> (l, k)",
        ("Gemm", "Split", "Concat"),
        opset=11,
        out="2,3",
    ),
    _example(
        "k = Gemm <transB = 1, alpha = 0.5> (x, t) l = Gemm <transB = 1, alpha = 0.5> (x, t) y = Mul(l, k)",
        ("Gemm", "Split", "Mul"),
    ),
    _example("k = MatMul(x, w) l = MatMul(x, a) y = Mul(l, k)", None, "no constant"),
    _example("k = Gemm(x, a) l = Gemm(x, b, p) y = Mul(l, k)", None, "same form"),
    _example("k = MatMul(x, a) l = Relu(x) m = MatMul(l, b) y = Mul(m, k)", None),
)
