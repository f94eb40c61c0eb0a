"""Static int8, one scale per output channel of a weight (S8S8 or U8S8, QDQ).

Maths, for activations x in the calibrated range [l, h] (0 included), weights W and bias b:

    s_x = (h - l) / 255      z_x = round(-128 - l / s_x)      x_q = clip(round(x / s_x) + z_x, -128, 127)
    s_w[c] = max|W[c]| / 127      W_q = round(W / s_w)      b_q = round(b / (s_x s_w)) as int32
    y = s_x s_w (W_q (x_q - z_x) + b_q), then quantized like x with the range of y

In int8: Conv, Gemm, MatMul; between int8 nodes, on the way to the next product, Add, Mul, Concat,
AveragePool, GlobalAveragePool, Sigmoid, LeakyRelu; Gather from a constant table; Relu and Clip behind one of
them; and what only moves values (Reshape, Transpose, MaxPool, Slice, Pad with zeros, ...) where its input is
int8 already. LSTM and GRU have no static int8 kernels: they are written as `int8_dynamic` writes them.
l and h are the extremes on the calibration data, or what `quantization:ranges` chose; W_q and b are as
`quantization:weights` (`_rounding`) and `quantization:equalized` (`_equalization`) say. 63 stands for 127
where x86 would saturate.

Does not apply to (they stay in float32, and their neighbours quantize):
    - a node with an input or output whose range is not known or not finite;
    - Conv and Gemm whose weight or bias is computed, Gemm with alpha or beta other than 1 or transA;
    - RNN, and the LSTM and GRU that `int8_dynamic` does not take;
    - Softmax, normalisations, HardSwish and other activations, ReduceMean: no int8 kernel, or too inexact;
    - Add, Mul and the like at the fringe of int8: it saves nothing, and GELU or LayerNormalization written
      out in them (x * x * x, variances) does not survive 8 bits;
    - nodes inside the bodies of If, Loop and Scan, and nodes whose output such a body reads;
    - opsets below 13.

Source: ONNX QuantizeLinear-13; Jacob et al. 2018 (arXiv:1712.05877), section 2; ONNX Runtime's QDQ selectors.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from edgeopt.graph.precision import _qdq
from edgeopt.graph.precision._examples import ATTENTION, CNN, GRU, LSTM, MLP

if TYPE_CHECKING:
    import onnx_ir as ir

    from edgeopt.graph.precision._edit import Edit

STATIC = True
LOSSY = True
WEIGHT_BITS = 8
MAX_ERROR = 0.1

EXAMPLES = (CNN, MLP, ATTENTION, LSTM, GRU)


def applies(node: ir.Node) -> bool:
    """See `Scheme.applies`."""
    return _qdq.applies(node, 13)


def apply(node: ir.Node, edit: Edit) -> bool:
    """See `Scheme.apply`."""
    return _qdq.apply(node, edit, per_channel=True)
