"""Recurrent width: fewer hidden units of an LSTM, a GRU or an RNN.

Before: LSTM with hidden_size M -> ... -> layers that read M states
After:  the same with hidden_size M' < M: of the other units, the rows of both matrices and the biases of
        every gate, the columns of the second matrix, and the columns of the readers are left out.
Does not apply when: where the states begin is computed or an input of the model, a state is an output of the
model, or a cell is clipped.
Source: Wen et al. 2018 (arXiv:1709.05027), section 3: intrinsic sparse structures of LSTMs.
"""

from __future__ import annotations

from collections.abc import Sequence

import onnx_ir as ir

from edgeopt.graph.structure import Site, _cutting
from edgeopt.graph.structure._groups import Group, Structure
from edgeopt.graph.structure._knowledge import Knowledge
from edgeopt.graph.structure._layers import GATES

ORDER = 20

EXAMPLES = (
    """<ir_version: 8, opset_import: ["": 13]>
lstm (float[7, 1, 12] x) => (float[1, 4] y)
<float[1, 128, 12] w, float[1, 128, 32] r, float[1, 256] b, float[1, 1, 32] h0, float[1, 1, 32] c0,
 float[4, 32] w2, float[4] b2, int64[1] first = {0}> {
    all, last = LSTM <hidden_size = 32> (x, w, r, b, , h0, c0)
    l = Squeeze(last, first)
    y = Gemm <transB = 1> (l, w2, b2)
}""",
    """<ir_version: 8, opset_import: ["": 13]>
gru (float[5, 1, 16] x) => (float[5, 1, 3] y)
<float[1, 72, 16] w, float[1, 72, 24] r, float[1, 144] b, float[24, 3] w2, int64[1] second = {1}> {
    all = GRU <hidden_size = 24, linear_before_reset = 1> (x, w, r, b)
    s = Squeeze(all, second)
    y = MatMul(s, w2)
}""",
    """<ir_version: 8, opset_import: ["": 13]>
both (float[5, 1, 16] x) => (float[5, 1, 3] y)
<float[2, 64, 16] w, float[2, 64, 16] r, float[2, 128] b, float[32, 3] w2, int64[3] joined = {5, 1, 32}> {
    all = LSTM <hidden_size = 16, direction = "bidirectional"> (x, w, r, b)
    t = Transpose <perm = [0, 2, 1, 3]> (all)
    j = Reshape(t, joined)
    y = MatMul(j, w2)
}""",
)


def sites(model: ir.Model) -> Sequence[Site]:
    """See `Change`."""
    return _cutting.sites(model, _wanted)


def apply(model: ir.Model, region: str, option: str, knowledge: Knowledge) -> ir.Model:
    """See `Change`."""
    return _cutting.cut(model, region, option, knowledge, _wanted)


def _wanted(_: Structure, group: Group) -> bool:
    return any(node.op_type in GATES for node in group.writers)
