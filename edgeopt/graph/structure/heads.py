"""Heads: fewer heads of an attention.

Before: Q, K, V = MatMul (C, H D) -> Reshape (N, L, H, D) -> Transpose, products, Softmax
        -> Reshape (N, L, H D) -> MatMul (H D, C)
After:  the same with H' < H heads: the columns of Q, K and V and the rows of the last matrix that belong to
        the others are left out.
Does not apply when: the number of heads is computed, or heads are mixed other than by the last matrix; an
`Attention` operator that is fused already (com.microsoft).
Source: Michel, Levy & Neubig 2019 (arXiv:1905.10650).
"""

from __future__ import annotations

from collections.abc import Sequence

import onnx_ir as ir

from edgeopt.graph.structure import UNCHANGED, Site, _cutting
from edgeopt.graph.structure._groups import Group, Structure
from edgeopt.graph.structure._knowledge import Knowledge

ORDER = 20

SHARES = (UNCHANGED, "75%", "50%", "25%")

EXAMPLES = (
    """<ir_version: 8, opset_import: ["": 13]>
attention (float[1, 6, 32] x) => (float[1, 6, 32] y)
<float[32, 32] wq, float[32] bq, float[32, 32] wk, float[32, 32] wv, float[32] bv, float[32, 32] wo,
 float[32] bo, int64[4] split = {1, 6, 4, 8}, int64[3] join = {1, 6, 32}, float scale = {2.83}> {
    q = MatMul(x, wq)
    qb = Add(q, bq)
    qs = Reshape(qb, split)
    qt = Transpose <perm = [0, 2, 1, 3]> (qs)
    k = MatMul(x, wk)
    ks = Reshape(k, split)
    kt = Transpose <perm = [0, 2, 3, 1]> (ks)
    v = MatMul(x, wv)
    vb = Add(v, bv)
    vs = Reshape(vb, split)
    vt = Transpose <perm = [0, 2, 1, 3]> (vs)
    s = MatMul(qt, kt)
    d = Div(s, scale)
    p = Softmax <axis = -1> (d)
    c = MatMul(p, vt)
    ct = Transpose <perm = [0, 2, 1, 3]> (c)
    j = Reshape(ct, join)
    o = MatMul(j, wo)
    ob = Add(o, bo)
    y = Add(ob, x)
}""",
)


def sites(model: ir.Model) -> Sequence[Site]:
    """See `Change`."""
    return _cutting.sites(model, _wanted, SHARES)


def apply(model: ir.Model, region: str, option: str, knowledge: Knowledge) -> ir.Model:
    """See `Change`."""
    return _cutting.cut(model, region, option, knowledge, _wanted)


def _wanted(structure: Structure, group: Group) -> bool:
    products = all(node.op_type in ("MatMul", "Gemm") for node in group.writers)
    return products and structure.is_bundled(group)
