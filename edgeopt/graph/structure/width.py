"""Width: fewer channels between convolutions, in all layers that share them.

Before: Conv (M, C) -> BatchNormalization, activation, depthwise Conv, gate, residual sum, ... -> Conv (K, M)
After:  the same with M' < M channels, those that matter least left out everywhere (`_groups`, `_importance`).
Does not apply when: a channel reaches an output of the model, an operator that is not known, a normalisation
over channels or a grouped convolution; or where no convolution writes the channels (`ffn_width`).
Source: Li et al. 2017 (arXiv:1608.08710); of coupled channels, Fang et al. 2023 (arXiv:2301.12900).
"""

from __future__ import annotations

from collections.abc import Sequence

import onnx_ir as ir

from edgeopt.graph.structure import Site, _cutting
from edgeopt.graph.structure._groups import Group, Structure
from edgeopt.graph.structure._knowledge import Knowledge

ORDER = 20

EXAMPLES = (
    """<ir_version: 8, opset_import: ["": 14]>
residual (float[1, 3, 12, 12] x) => (float[1, 10] y)
<float[32, 3, 3, 3] w1, float[32] s, float[32] b, float[32] m, float[32] v, float[64, 32, 1, 1] w2,
 float[64] b2, float[64, 1, 3, 3] w3, float[16, 64, 1, 1] g1, float[64, 16, 1, 1] g2, float[32, 64, 1, 1] w4,
 float[24, 32, 3, 3] w5, float[24] b5, float[10, 2016] w6> {
    c1 = Conv <pads = [1, 1, 1, 1], strides = [2, 2]> (x, w1)
    vv = Mul(v, v)
    n1 = BatchNormalization(c1, s, b, m, vv)
    r1 = Relu(n1)
    c2 = Conv(r1, w2, b2)
    r2 = HardSwish(c2)
    c3 = Conv <pads = [1, 1, 1, 1], group = 64> (r2, w3)
    p3 = GlobalAveragePool(c3)
    e1 = Conv(p3, g1)
    e2 = Relu(e1)
    e3 = Conv(e2, g2)
    e4 = Sigmoid(e3)
    e5 = Mul(c3, e4)
    c4 = Conv(e5, w4)
    a4 = Add(c4, r1)
    c5 = Conv <pads = [1, 1, 1, 1]> (a4, w5, b5)
    r5 = Relu(c5)
    j5 = Concat <axis = 1> (a4, r5)
    f = Flatten(j5)
    y = Gemm <transB = 1> (f, w6)
}""",
    """<ir_version: 8, opset_import: ["": 13]>
split (float[1, 4, 20] x) => (float[1, 6, 20] y)
<float[32, 4, 3] w1, float[32] b1, float[32, 32, 3] w2, float[6, 32, 1] w3, int64[2] parts = {16, 16}> {
    c1 = Conv <pads = [1, 1]> (x, w1, b1)
    r1 = LeakyRelu(c1)
    one, two = Split <axis = 1> (r1, parts)
    t1 = Tanh(one)
    s2 = Sigmoid(two)
    j = Concat <axis = 1> (t1, s2)
    c2 = Conv <pads = [1, 1]> (j, w2)
    r2 = Relu(c2)
    y = Conv(r2, w3)
}""",
)


def sites(model: ir.Model) -> Sequence[Site]:
    """See `Change`."""
    return _cutting.sites(model, _wanted)


def apply(model: ir.Model, region: str, option: str, knowledge: Knowledge) -> ir.Model:
    """See `Change`."""
    return _cutting.cut(model, region, option, knowledge, _wanted)


def _wanted(_: Structure, group: Group) -> bool:
    writers = {node.op_type for node in group.writers}
    return bool(writers & {"Conv", "ConvTranspose"}) and not writers & {"LSTM", "GRU", "RNN"}
