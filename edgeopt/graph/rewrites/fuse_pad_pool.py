"""Let a pooling pad its input itself.

    AveragePool(Pad(x, 0, p)) = AveragePool<pads=p, count_include_pad=1>(x)
    MaxPool(Pad(x, v, p)) = MaxPool<pads=p>(x)   where v is never above what it is compared with

Before:
    AveragePool or MaxPool of (Pad(x, pads))
After:
    AveragePool or MaxPool <pads> (x)

Weights: none; pads may differ between the two ends of an axis.

Does not apply when:
    - Pad copies, mirrors or wraps values, its pads are not constant, are negative, or lie on the
      batch or channel axis,
    - AveragePool: Pad writes something else than 0, or the pooling pads already without counting that,
    - MaxPool: Pad writes something else than minus infinity, or 0 where x is not known to be 0 or more,
    - a window would lie in the padding alone (pads as large as the kernel), or ceil_mode or auto_pad is set,
    - the padded value is read elsewhere too, or is an output of the model.

Source: ONNX AveragePool-7, MaxPool-8, Pad-2, -11, -18.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial

import numpy as np
import onnx_ir

from edgeopt.graph.convolution import Geometry
from edgeopt.graph.matching import SHARED, Found, NodeRule, Refusal, before, chain, is_shared, made
from edgeopt.graph.rewrites import Example
from edgeopt.graph.rewrites.fuse_pad_conv import fill, spatial_pads

ORDER = 31
EXACT = True
RTOL = 1e-5

_NOT_NEGATIVE = ("Relu", "Sigmoid", "HardSigmoid", "Softmax", "Abs", "Exp", "Sqrt", "Softplus")
_LOWEST = float(np.finfo(np.float32).min)


def look(graph: onnx_ir.Graph, node: onnx_ir.Node) -> Found | Refusal | None:
    """A pooling of what was padded."""
    pad = before(node, 0, ("Pad",))
    if pad is None:
        return None
    geometry = Geometry.of(node)
    auto = node.attributes.get_string("auto_pad", "NOTSET") not in ("NOTSET", "VALID")
    if geometry is None or auto or node.attributes.get_int("ceil_mode", False) or len(node.outputs) > 1:
        return Refusal("the pooling computes its own padding (auto_pad, ceil_mode), or its indices are read")
    if any(step != 1 for step in geometry.dilations):
        return Refusal("the pooling is dilated")
    pads = spatial_pads(pad)
    if pad.attributes.get_string("mode", "constant") != "constant" or pads is None:
        return Refusal("Pad does not write a constant, or not only around the map")
    total = [own + more for own, more in zip(geometry.pads, pads, strict=True)]
    if any(amount >= taps for amount, taps in zip(total, geometry.kernel * 2, strict=True)):
        return Refusal("a window would lie in the padding alone")
    written = fill(pad)
    if node.op_type == "AveragePool":
        if written != 0:
            return Refusal("Pad does not write zeros")
        if geometry.is_padded and not node.attributes.get_int("count_include_pad", 0):
            return Refusal("AveragePool leaves its own padding out of the mean")
    elif written is None or not (
        written <= _LOWEST or (written == 0 and before(pad, 0, _NOT_NEGATIVE) is not None)
    ):
        return Refusal("Pad writes what may be greater than the values of the window")
    if is_shared(pad.outputs[0]):
        return SHARED
    return chain(graph, (pad, node), partial(_build, pad, node, total))


def _build(pad: onnx_ir.Node, node: onnx_ir.Node, total: Sequence[int]) -> Sequence[onnx_ir.Node]:
    attributes = {name: value for name, value in node.attributes.items() if name not in ("pads", "auto_pad")}
    counted = {"count_include_pad": 1} if node.op_type == "AveragePool" else {}
    return [made(node.op_type, [pad.inputs[0]], {**attributes, "pads": total, **counted})]


RULES = (NodeRule(look, ("AveragePool", "MaxPool")),)


def _example(body: str, becomes: tuple[str, ...] | None, reason: str = "", out: str = "1,1,4,4") -> Example:
    return Example(
        f"""<ir_version: 8, opset_import: ["": 17]>
        agraph (float[1,1,4,4] x) => (float[{out}] y)
          <int64[8] pads = {{0, 0, 1, 1, 0, 0, 1, 1}}, int64[8] wide = {{0, 0, 3, 0, 0, 0, 0, 0}},
           float low = {{-3.4028235e38}}, float one = {{1}}>
        {{ {body} }}""",
        becomes,
        reason,
    )


_THREE = "kernel_shape = [3, 3]"

EXAMPLES = (
    _example(f"p = Pad(x, pads) y = AveragePool <{_THREE}> (p)", ("AveragePool",)),
    _example(f"p = Pad(x, pads, low) y = MaxPool <{_THREE}> (p)", ("MaxPool",)),
    _example(f"r = Relu(x) p = Pad(r, pads) y = MaxPool <{_THREE}> (p)", ("Relu", "MaxPool")),
    _example(
        f"p = Pad(x, pads) y = AveragePool <{_THREE}, pads = [1, 0, 0, 1], count_include_pad = 1> (p)",
        ("AveragePool",),
        out="1,1,5,5",
    ),
    _example(f"p = Pad(x, pads) y = MaxPool <{_THREE}> (p)", None, "greater"),
    _example(f"p = Pad(x, pads, one) y = AveragePool <{_THREE}> (p)", None, "zeros"),
    _example(
        f"p = Pad(x, pads) y = AveragePool <{_THREE}, pads = [1, 1, 1, 1]> (p)", None, "own", out="1,1,6,6"
    ),
    _example(f"p = Pad(x, wide) y = AveragePool <{_THREE}> (p)", None, "alone", out="1,1,5,2"),
    _example(f'p = Pad <mode = "edge"> (x, pads) y = AveragePool <{_THREE}> (p)', None, "constant"),
    _example(
        f"p = Pad(x, pads) a = AveragePool <{_THREE}> (p) g = GlobalMaxPool(p) y = Add(a, g)",
        None,
        "elsewhere",
    ),
)
