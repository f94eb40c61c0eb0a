"""FFN width: fewer hidden units between matrix products.

Before: MatMul or Gemm (C, M) -> bias, activation, gate -> MatMul or Gemm (M, K)
After:  the same with M' < M hidden units; those that matter least are left out.
Does not apply when: as for `width`, which cuts what convolutions write; `heads` cuts attention.
Source: Kwon et al. 2022 (arXiv:2204.09656), section 4: filters of the feed-forward layers.
"""

from __future__ import annotations

from collections.abc import Sequence

import onnx_ir as ir

from edgeopt.graph.structure import Site, _cutting
from edgeopt.graph.structure._groups import Group, Structure
from edgeopt.graph.structure._knowledge import Knowledge

ORDER = 20

EXAMPLES = (
    """<ir_version: 8, opset_import: ["": 13]>
perceptron (float[1, 6, 24] x) => (float[1, 6, 24] y)
<float[24, 64] w1, float[64] b1, float[24, 64] w2, float[64, 24] w3, float[24] b3> {
    h = MatMul(x, w1)
    hb = Add(b1, h)
    s = Sigmoid(hb)
    a = Mul(hb, s)
    g = MatMul(x, w2)
    ag = Mul(a, g)
    d = MatMul(ag, w3)
    db = Add(d, b3)
    y = Add(db, x)
}""",
    """<ir_version: 8, opset_import: ["": 13]>
head (float[2, 16] x) => (float[2, 5] y) <float[48, 16] w1, float[48] b1, float[48, 5] w2, float[5] b2> {
    h = Gemm <transB = 1> (x, w1, b1)
    r = Relu(h)
    y = Gemm(r, w2, b2)
}""",
)


def sites(model: ir.Model) -> Sequence[Site]:
    """See `Change`."""
    return _cutting.sites(model, _wanted)


def apply(model: ir.Model, region: str, option: str, knowledge: Knowledge) -> ir.Model:
    """See `Change`."""
    return _cutting.cut(model, region, option, knowledge, _wanted)


def _wanted(structure: Structure, group: Group) -> bool:
    products = all(node.op_type in ("MatMul", "Gemm", "Gather") for node in group.writers)
    return products and not structure.is_bundled(group)
