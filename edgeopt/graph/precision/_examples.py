"""Models that several schemes are held to, in `onnx.parser` text."""

CNN = """<ir_version: 8, opset_import: ["": 13]>
residual (float[1, 3, 16, 16] x) => (float[1, 10] y)
<float[32, 3, 3, 3] w1, float[32] b1, float[32, 1, 3, 3] w2, float[64, 32, 1, 1] w3,
 float[64, 64, 1, 1] w4, float[64] b4, float[64, 10] w5, float[10] b5> {
    c1 = Conv <pads = [1, 1, 1, 1], strides = [2, 2]> (x, w1, b1)
    r1 = Relu(c1)
    c2 = Conv <pads = [1, 1, 1, 1], group = 32> (r1, w2)
    s2 = Add(c2, r1)
    c3 = Conv(s2, w3)
    r3 = Relu(c3)
    c4 = Conv(r3, w4, b4)
    s4 = Add(c4, r3)
    p = GlobalAveragePool(s4)
    f = Flatten(p)
    y = Gemm(f, w5, b5)
}"""

MLP = """<ir_version: 8, opset_import: ["": 13]>
mlp (float[4, 64] x) => (float[4, 32] y)
<float[64, 96] w1, float[96] b1, float[32, 96] w2, float[32] b2> {
    h = Gemm(x, w1, b1)
    r = Relu(h)
    y = Gemm <transB = 1> (r, w2, b2)
}"""

ATTENTION = """<ir_version: 8, opset_import: ["": 13]>
attention (float[1, 8, 64] x) => (float[1, 8, 64] y)
<float[64, 64] wq, float[64, 64] wk, float[64, 64] wv, float[64, 64] wo, float[64] bo> {
    q = MatMul(x, wq)
    k = MatMul(x, wk)
    kt = Transpose <perm = [0, 2, 1]> (k)
    v = MatMul(x, wv)
    a = MatMul(q, kt)
    n = Softmax <axis = -1> (a)
    c = MatMul(n, v)
    o = MatMul(c, wo)
    y = Add(o, bo)
}"""

CONV_OPSET_11 = """<ir_version: 8, opset_import: ["": 11]>
cnn (float[1, 8, 12, 12] x) => (float[1, 32, 12, 12] y) <float[32, 8, 3, 3] w, float[32] b> {
    c = Conv <pads = [1, 1, 1, 1]> (x, w, b)
    y = Relu(c)
}"""

LSTM = """<ir_version: 8, opset_import: ["": 13]>
rnn (float[6, 1, 32] x) => (float[6, 2, 1, 48] y)
<float[2, 192, 32] w, float[2, 192, 48] r, float[2, 384] b> {
    y = LSTM <hidden_size = 48, direction = "bidirectional"> (x, w, r, b)
}"""

GRU = """<ir_version: 8, opset_import: ["": 13]>
rnn (float[2, 1, 64] x) => (float[2, 1, 1, 96] y, float[1, 1, 96] h)
<float[1, 288, 64] w, float[1, 288, 96] r, float[1, 576] b> {
    y, h = GRU <hidden_size = 96, linear_before_reset = 1> (x, w, r, b)
}"""

EMBEDDING = """<ir_version: 8, opset_import: ["": 13]>
words (int64[1, 7] i) => (float[1, 7, 64] y) <float[100, 64] table> {
    y = Gather(table, i)
}"""

SHARED_INPUT = """<ir_version: 8, opset_import: ["": 13]>
heads (float[2, 8, 64] x) => (float[2, 8, 64] y)
<float[64, 64] wq, float[64, 64] wk, float[64] b, float[64, 64] wo, float[64] bo> {
    q = MatMul(x, wq)
    k = MatMul(x, wk)
    kb = Add(b, k)
    s = Add(q, kb)
    o = MatMul(s, wo)
    y = Add(o, bo)
}"""
