"""Static int8, one scale per weight (S8S8 or U8S8, QDQ).

Maths: that of `int8_static_channel` with a single s_w = max|W| / 127. Kernels are the same; a weight whose
channels differ much in size loses more.

Does not apply to what `int8_static_channel` does not, and to opsets below 10 (not 13).

Source: ONNX QuantizeLinear-10; Jacob et al. 2018 (arXiv:1712.05877), section 2; ONNX Runtime's QDQ selectors.
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
    return _qdq.applies(node, 10)


def apply(node: ir.Node, edit: Edit) -> bool:
    """See `Scheme.apply`."""
    return _qdq.apply(node, edit, per_channel=False)
