"""Low rank: two thin layers in place of a wide one.

Before: y = W x, a Conv, MatMul or Gemm with W (m, n)
After:  y = B (A x), A (r, n) and B (m, r): A is of the same operator, B a Conv of 1x1 or a product. With U
        the first r eigenvectors of E[y y'] on calibration data, B = U and A = U' W: of all of rank r, this is
        nearest to y on that data.
The options are shares of the operations of W: r = share * m n / (m + n).
Does not apply when: W is computed, grouped, or so small that thin layers save nothing; to recurrences.
Source: Zhang et al. 2015 (arXiv:1505.06798), section 3.1; Eckart & Young 1936.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import onnx_ir as ir

from edgeopt.graph.constants import add_initializer, constant_of
from edgeopt.graph.flops import sizes
from edgeopt.graph.regions import REGION_TAG, region_of
from edgeopt.graph.structure import UNCHANGED, Site
from edgeopt.graph.structure._cutting import step
from edgeopt.graph.structure._groups import replace_constant, rows_of
from edgeopt.graph.structure._knowledge import Knowledge
from edgeopt.graph.structure._weights import Doubles, Matrix, matrices

ORDER = 30

SHARES = (UNCHANGED, "75%", "50%", "25%")
LEAST_RANK = 4

EXAMPLES = (
    """<ir_version: 8, opset_import: ["": 13]>
convs (float[1, 16, 9, 9] x) => (float[1, 8] y)
<float[48, 16, 3, 3] w1, float[48] b1, float[40, 48, 1, 1] w2, float[40, 8] w3, float[8] b3> {
    c1 = Conv <pads = [1, 1, 1, 1], strides = [2, 2]> (x, w1, b1)
    r1 = Relu(c1)
    c2 = Conv(r1, w2)
    r2 = Relu(c2)
    p = GlobalAveragePool(r2)
    f = Flatten(p)
    y = Gemm(f, w3, b3)
}""",
    """<ir_version: 8, opset_import: ["": 13]>
products (float[2, 32] x) => (float[2, 24] y)
<float[64, 32] w1, float[64] b1, float[64, 48] w2, float[48] b2, float[48, 24] w3> {
    h = Gemm <transB = 1> (x, w1, b1)
    r = Relu(h)
    g = MatMul(r, w2)
    gb = Add(g, b2)
    t = Tanh(gb)
    y = MatMul(t, w3)
}""",
)


def sites(model: ir.Model) -> Sequence[Site]:
    """See `Change`."""
    found: dict[str, Site] = {}
    for node in model.graph:
        matrix = _matrix(node)
        if matrix is None or region_of(node) in found:
            continue
        by_rank = {_rank(matrix, share): share for share in SHARES[1:]}
        options = tuple(share for rank, share in by_rank.items() if _saves(matrix, rank))
        if options:
            found[region_of(node)] = Site(region_of(node), (UNCHANGED, *options))
    return list(found.values())


def apply(model: ir.Model, region: str, option: str, knowledge: Knowledge) -> ir.Model:
    """See `Change`."""
    if option == UNCHANGED:
        return model
    changed = model.clone()
    found = (_matrix(node) for node in changed.graph if region_of(node) == region)
    matrix = next((one for one in found if one is not None), None)
    if matrix is None or not _saves(matrix, _rank(matrix, option)):
        return model
    origin = knowledge.origin(matrix.node)
    original = Matrix.of(origin, 1) if origin is not None else None
    if original is None:
        return model
    basis = knowledge.once(("outputs", region), lambda: _second_moments(original, knowledge))
    rows = rows_of(matrix.node)
    within = basis if rows is None else basis[np.ix_(rows, rows)]
    vectors = np.linalg.eigh(within)[1][:, ::-1][:, : _rank(matrix, option)]
    _split(changed.graph, matrix, vectors.T @ matrix.values[0], vectors)
    return changed


def _matrix(node: ir.Node) -> Matrix | None:
    """The matrix of a layer that can be two: not grouped, its shapes known."""
    if node.op_type not in ("Conv", "MatMul", "Gemm") or sizes(node.outputs[0]) is None:
        return None
    found = next(iter(matrices(node)), None)
    geometry = found.reads.geometry if found is not None else None
    return None if found is None or (geometry is not None and geometry.group > 1) else found


def _rank(matrix: Matrix, option: str) -> int:
    _, m, n = matrix.values.shape
    rank = float(option.removesuffix("%")) / 100 * m * n / (m + n)
    return int(rank // step(int(rank))) * step(int(rank))


def _saves(matrix: Matrix, rank: int) -> bool:
    _, m, n = matrix.values.shape
    return rank >= LEAST_RANK and rank * (m + n) < m * n


def _second_moments(matrix: Matrix, knowledge: Knowledge) -> Doubles:
    """E[y y'] (m, m) of what a layer of the original writes, without its bias."""
    weight = matrix.values[0]
    moments = knowledge.moments(matrix.reads)
    if moments is None:
        return np.asarray(weight @ weight.T, np.float64)
    mean = weight @ moments.mean[0].astype(np.float64)
    total: Doubles = np.outer(mean, mean)
    start = 0
    for block in moments.covariance:
        part = weight[:, start : start + block.shape[-1]]
        total += part @ block[0].astype(np.float64) @ part.T
        start += block.shape[-1]
    return total


def _split(graph: ir.Graph, matrix: Matrix, first: Doubles, second: Doubles) -> None:
    """Let A compute what the layer reads, and the layer itself be B."""
    node, weight = matrix.node, constant_of(matrix.node.inputs[1])
    rank, name = len(first), str(node.outputs[0].name)
    shape = list(sizes(node.outputs[0]) or ())
    shape[1 if node.op_type == "Conv" else -1] = rank
    if node.op_type == "Conv":
        values = first.reshape(rank, *weight.shape[1:])
        attributes = list(node.attributes.values())
    else:
        values, attributes = first.T, []
    made = add_initializer(graph, f"{name}_first", np.ascontiguousarray(values.astype(weight.dtype)))
    operator = "Conv" if node.op_type == "Conv" else "MatMul"
    thin = ir.Node("", operator, [node.inputs[0], made], attributes, name=f"{node.name}_low_rank")
    thin.outputs[0].name = f"{name}_low_rank"
    thin.outputs[0].shape = ir.Shape(shape)
    thin.outputs[0].type = node.outputs[0].type
    thin.metadata_props[REGION_TAG] = region_of(node)
    graph.insert_before(node, thin)
    node.replace_input_with(0, thin.outputs[0])
    if node.op_type == "Conv":
        axes = weight.ndim - 2
        node.attributes.pop("auto_pad", None)
        for attribute, number, count in (
            ("kernel_shape", 1, axes), ("strides", 1, axes), ("dilations", 1, axes), ("pads", 0, 2 * axes),
        ):  # fmt: skip
            node.attributes[attribute] = ir.AttrInt64s(attribute, [number] * count)
        replace_constant(graph, node, 1, second.reshape(*second.shape, *[1] * axes).astype(weight.dtype))
        return
    turned = node.op_type == "Gemm" and bool(node.attributes.get_int("transB", 0))
    replace_constant(graph, node, 1, (second if turned else second.T).astype(weight.dtype))
