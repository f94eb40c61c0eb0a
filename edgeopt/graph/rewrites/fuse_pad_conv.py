"""Let a convolution pad its input itself.

    Conv(pads=p)(Pad(x, q)) = Conv(pads=p + q)(x)   where Pad writes zeros

Before:
    Conv(Pad(x, pads), W, b)
After:
    Conv<pads>(x, W, b)

Weights: unchanged; W is (M, C/group, *kernel). Pads may differ between the two ends of an axis.

Does not apply when:
    - Pad copies, mirrors or wraps values, or writes another constant than 0,
    - its pads are not constant, negative (a crop), or on the batch or channel axis,
    - Conv computes its own padding (auto_pad=SAME_*), which depends on the size of its input,
    - the padded value is read elsewhere too, or is an output of the model.

Source: ONNX Pad-2, Pad-11, Pad-18 (axes), Conv-11.
"""

from __future__ import annotations

from typing import Any

import onnx_ir
from onnxscript.rewriter.pattern import MatchResult, RewriteRule

from edgeopt.graph.constants import array_of, scalar_of
from edgeopt.graph.matching import PatternRule
from edgeopt.graph.reading import producer_of
from edgeopt.graph.rewrites import Example

ORDER = 30
EXACT = True
RTOL = 1e-5


def form(op: Any, x: Any) -> Any:
    """`Conv(Pad(x))`; pads are inputs since opset 11, attributes before: `check` reads either."""
    padded = op.Pad(x, _allow_other_inputs=True, _allow_other_attributes=True, _outputs=["padded"])
    return op.Conv(padded, _allow_other_inputs=True, _allow_other_attributes=True, _outputs=["convolved"])


def check(context: Any, padded: onnx_ir.Value, convolved: onnx_ir.Value, **_: Any) -> MatchResult:  # noqa: ARG001
    """Only zeros, only on spatial axes, and only where Conv does not compute its padding."""
    result = MatchResult()
    pad, conv = producer_of(padded), producer_of(convolved)
    if pad.attributes.get_string("mode", "constant") != "constant":
        return result.fail("Pad does not write a constant", pad)
    if fill(pad) != 0:
        return result.fail("Pad does not write zeros", pad)
    if conv.attributes.get_string("auto_pad", "NOTSET") not in ("NOTSET", "VALID"):
        return result.fail("Conv computes its own padding (auto_pad)", conv)
    if spatial_pads(pad) is None:
        return result.fail("its pads are not constant, negative, or on the batch or channel axis", pad)
    return result


def rewrite(op: Any, x: onnx_ir.Value, padded: onnx_ir.Value, convolved: onnx_ir.Value) -> Any:
    """Add the pads up."""
    pads = spatial_pads(producer_of(padded)) or []
    conv = producer_of(convolved)
    attributes = {name: value for name, value in conv.attributes.items() if name not in ("pads", "auto_pad")}
    own = conv.attributes.get_ints("pads", None) or [0] * len(pads)
    total = [have + more for have, more in zip(own, pads, strict=True)]
    return op.Conv(x, *conv.inputs[1:], **attributes, pads=total)


def fill(pad: onnx_ir.Node) -> float | None:
    """What Pad writes; None if that is computed."""
    if len(pad.inputs) > 2 and pad.inputs[2] is not None:
        return scalar_of(pad.inputs[2])
    return pad.attributes.get_float("value", 0.0)


def spatial_pads(pad: onnx_ir.Node) -> list[int] | None:
    """Begins then ends of the spatial axes, or None where they cannot be Conv's."""
    rank = len(pad.inputs[0].shape) if pad.inputs[0] is not None and pad.inputs[0].shape is not None else 0
    given = array_of(pad.inputs[1]) if len(pad.inputs) > 1 else pad.attributes.get_ints("pads", None)
    if given is None or rank < 3:
        return None
    axes = list(range(rank))
    if len(pad.inputs) > 3 and pad.inputs[3] is not None:
        named = array_of(pad.inputs[3])
        if named is None:
            return None
        axes = [int(axis) % rank for axis in named]
    begins, ends = [0] * rank, [0] * rank
    for index, axis in enumerate(axes):
        begins[axis], ends[axis] = int(given[index]), int(given[index + len(axes)])
    if any((*begins[:2], *ends[:2])) or min(*begins, *ends) < 0:
        return None
    return begins[2:] + ends[2:]


RULES = (PatternRule(RewriteRule(form, rewrite, check, name="pad_conv"), roots=("Conv",)),)

EXAMPLES = (
    Example(
        """<ir_version: 8, opset_import: ["": 17]>
        agraph (float[1,1,4,4] x) => (float[1,1,5,4] y)
          <int64[8] pads = {0, 0, 0, 1, 0, 0, 2, 0}, float[1,1,2,2] w = {1, 2, 3, 4}>
        { p = Pad(x, pads)
          y = Conv(p, w) }""",
        becomes=("Conv",),
    ),
    Example(
        """<ir_version: 8, opset_import: ["": 18]>
        agraph (float[1,1,4] x) => (float[1,1,7] y)
          <int64[2] pads = {1, 2}, float zero = {0}, int64[1] axes = {-1}, float[1,1,2] w = {1, 2}>
        { p = Pad(x, pads, zero, axes)
          y = Conv <pads = [1, 0], auto_pad = "NOTSET"> (p, w) }""",
        becomes=("Conv",),
    ),
    Example(
        """<ir_version: 5, opset_import: ["": 10]>
        agraph (float[1,1,4] x) => (float[1,1,6] y) <float[1,1,2] w = {1, 2}>
        { p = Pad <pads = [0, 0, 1, 0, 0, 2]> (x)
          y = Conv <auto_pad = "VALID"> (p, w) }""",
        becomes=("Conv",),
    ),
    Example(
        """<ir_version: 8, opset_import: ["": 17]>
        agraph (float[1,1,4] x) => (float[1,1,4] y)
          <int64[6] pads = {0, 0, 1, 0, 0, 0}, float one = {1}, float[1,1,2] w = {1, 2}>
        { p = Pad(x, pads, one)
          y = Conv(p, w) }""",
        becomes=None,
        reason="zeros",
    ),
    Example(
        """<ir_version: 8, opset_import: ["": 17]>
        agraph (float[1,1,4] x) => (float[1,1,5] y)
          <int64[6] pads = {0, 0, 1, 0, 0, 0}, float[1,1,2] w = {1, 2}>
        { p = Pad(x, pads)
          y = Conv <auto_pad = "SAME_UPPER"> (p, w) }""",
        becomes=None,
        reason="auto_pad",
    ),
    Example(
        """<ir_version: 8, opset_import: ["": 17]>
        agraph (float[1,1,4] x) => (float[1,1,4] y)
          <int64[6] pads = {0, 0, 1, 0, 0, 0}, float[1,1,2] w = {1, 2}>
        { p = Pad <mode = "edge"> (x, pads)
          y = Conv(p, w) }""",
        becomes=None,
        reason="constant",
    ),
    Example(
        """<ir_version: 8, opset_import: ["": 17]>
        agraph (float[1,1,4] x) => (float[1,1,2] y)
          <int64[6] pads = {0, 0, -1, 0, 0, 0}, float[1,1,2] w = {1, 2}>
        { p = Pad(x, pads)
          y = Conv(p, w) }""",
        becomes=None,
        reason="negative",
    ),
    Example(
        """<ir_version: 8, opset_import: ["": 17]>
        agraph (float[1,1,4] x) => (float[1,1,4] y, float[1,1,5] p)
          <int64[6] pads = {0, 0, 1, 0, 0, 0}, float[1,1,2] w = {1, 2}>
        { p = Pad(x, pads)
          y = Conv(p, w) }""",
        becomes=None,
        reason="output",
    ),
)
