"""Small networks of the kinds that people deploy, with random weights."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
from onnx import numpy_helper, parser

from edgeopt.graph.model import Model, freeze, load
from edgeopt.testing.precision import fill_weights

HEAD = '<ir_version: 8, opset_import: ["": 17]>'

CNN = f"""{HEAD}
cnn (float[1, 3, 32, 32] x) => (float[1, 10] y, float[1, 64, 8, 8] feature)
<float[32, 3, 3, 3] w1, float[32] gamma, float[32] beta, float[32] mean, float[32] variance,
 float[32, 1, 3, 3] w2, float[32] b2, float[64, 32, 1, 1] w3, float[64, 64, 1, 1] w4, float[64] b4,
 float[8, 64, 1, 1] s1, float[64, 8, 1, 1] s2, float[32, 64, 1, 1] w5, float[32, 64, 3, 3] w6,
 float[64, 10] w7, float[10] b7> {{
    zero = Constant <value_float = 0.0> ()
    six = Constant <value_float = 6.0> ()
    c1 = Conv <pads = [1, 1, 1, 1], strides = [2, 2]> (x, w1)
    n1 = BatchNormalization(c1, gamma, beta, mean, variance)
    r1 = Clip(n1, zero, six)
    c2 = Conv <pads = [1, 1, 1, 1], group = 32> (r1, w2, b2)
    r2 = Clip(c2, zero, six)
    a2 = Add(r2, r1)
    c3 = Conv <strides = [2, 2]> (a2, w3)
    h3 = HardSwish(c3)
    c4 = Conv(h3, w4, b4)
    squeezed = GlobalAveragePool(c4)
    e1 = Conv(squeezed, s1)
    er = Relu(e1)
    e2 = Conv(er, s2)
    es = HardSigmoid(e2)
    excited = Mul(c4, es)
    a4 = Add(excited, h3)
    p4 = MaxPool <kernel_shape = [3, 3], pads = [1, 1, 1, 1]> (a4)
    c5 = Conv(p4, w5)
    r5 = Relu(c5)
    c6 = Conv <pads = [1, 1, 1, 1]> (a4, w6)
    g6 = Sigmoid(c6)
    r6 = Mul(c6, g6)
    feature = Concat <axis = 1> (r5, r6)
    pooled = GlobalAveragePool(feature)
    flat = Flatten(pooled)
    y = Gemm(flat, w7, b7)
}}"""

RESIDUAL = f"""{HEAD}
residual (float[1, 3, 32, 32] x) => (float[1, 10] y)
<float[32, 3, 3, 3] w1, float[32] b1, float[32, 1, 3, 3] w2, float[32] b2, float[32, 32, 1, 1] w3,
 float[32] b3, float[16, 32, 1, 1] w4, float[16, 32, 3, 3] w5, float[32, 10] w6, float[10] b6> {{
    c1 = Conv <pads = [1, 1, 1, 1]> (x, w1, b1)
    r1 = Relu(c1)
    c2 = Conv <pads = [1, 1, 1, 1], group = 32> (r1, w2, b2)
    r2 = Relu(c2)
    c3 = Conv(r2, w3, b3)
    a3 = Add(c3, r1)
    p3 = MaxPool <kernel_shape = [2, 2], strides = [2, 2]> (a3)
    c4 = Conv(p3, w4)
    c5 = Conv <pads = [1, 1, 1, 1]> (p3, w5)
    k = Concat <axis = 1> (c4, c5)
    g = GlobalAveragePool(k)
    f = Flatten(g)
    y = Gemm(f, w6, b6)
}}"""

MLP = f"""{HEAD}
mlp (float[1, 40] x) => (float[1, 8] y)
<float[40, 64] w1, float[64] b1, float[64, 64] w2, float[64] b2, float[8, 64] w3, float[8] b3> {{
    h1 = Gemm(x, w1, b1)
    r1 = Relu(h1)
    m2 = MatMul(r1, w2)
    h2 = Add(m2, b2)
    s2 = Sigmoid(h2)
    y = Gemm <transB = 1> (s2, w3, b3)
}}"""

LSTM = f"""{HEAD}
lstm (float[6, 1, 24] x, float[1, 1, 32] h) => (float[1, 1, 5] y, float[1, 1, 32] hn)
<float[24, 24] w0, float[1, 128, 24] w, float[1, 128, 32] r, float[1, 256] b, float[32, 5] w1, float[5] b1> {{
    e = MatMul(x, w0)
    t = Relu(e)
    all, hn, cn = LSTM <hidden_size = 32> (t, w, r, b, , h)
    m = MatMul(hn, w1)
    y = Add(m, b1)
}}"""

TRANSFORMER = f"""{HEAD}
block (int64[1, 12] tokens) => (float[1, 12, 32] y)
<float[50, 32] table, float[32] g1, float[32] n1, float[32, 32] wq, float[32, 32] wk, float[32, 32] wv,
 float[32, 32] wo, float[32] bo, float[32] g2, float[32] n2, float[32, 64] w1, float[64] b1, float[64, 32] w2,
 float[32] b2> {{
    x = Gather(table, tokens)
    a = LayerNormalization(x, g1, n1)
    q = MatMul(a, wq)
    k = MatMul(a, wk)
    v = MatMul(a, wv)
    heads = Constant <value_ints = [1, 12, 4, 8]> ()
    merged = Constant <value_ints = [1, 12, 32]> ()
    q4 = Reshape(q, heads)
    k4 = Reshape(k, heads)
    v4 = Reshape(v, heads)
    qt = Transpose <perm = [0, 2, 1, 3]> (q4)
    kt = Transpose <perm = [0, 2, 3, 1]> (k4)
    vt = Transpose <perm = [0, 2, 1, 3]> (v4)
    scores = MatMul(qt, kt)
    weights = Softmax <axis = -1> (scores)
    c = MatMul(weights, vt)
    ct = Transpose <perm = [0, 2, 1, 3]> (c)
    cm = Reshape(ct, merged)
    om = MatMul(cm, wo)
    o = Add(om, bo)
    x1 = Add(x, o)
    f = LayerNormalization(x1, g2, n2)
    u = MatMul(f, w1)
    ub = Add(u, b1)
    ur = Relu(ub)
    d = MatMul(ur, w2)
    db = Add(d, b2)
    y = Add(x1, db)
}}"""

ALL = {"cnn": CNN, "residual": RESIDUAL, "mlp": MLP, "lstm": LSTM, "transformer": TRANSFORMER}


def network(folder: Path, text: str) -> Model:
    """Frozen; variances and the like are positive."""
    proto = parser.parse_model(text)
    fill_weights(proto)
    for weight in proto.graph.initializer:
        if weight.name in ("variance", "g1", "g2"):
            positive = np.abs(numpy_helper.to_array(weight)) + np.float32(0.5)
            weight.CopyFrom(numpy_helper.from_array(positive, weight.name))
    path = folder / "network.onnx"
    onnx.save(proto, path)
    return freeze(load(path), {})
