"""Bound what masks attention scores, so that it does not stretch the range that quantization has to cover.

    softmax(s + m)      m = 0 or -10000 (-inf, -3.4e38)      =>      m = 0 or -128

Before:
    Softmax(Add(s, mask)), Softmax(Where(c, s, -inf))
After:
    the same with the constant that makes the mask bounded to -128; what is masked gets a new name, as the
    range calibrated under the old one holds no more (it stays in float32 where the rest becomes int8)

Weights: the mask, or the scalar that scales or fills it, of any shape.

Exact where it matters: a masked score gets the weight exp(-(128 - r)) of the largest one, where r is the
spread of the unmasked scores of a row: exactly 0 in float32 up to r = 24, below 1e-17 up to r = 88. A row
that is masked altogether is NaN (-inf) or uniform (-3.4e38) in the original, and the Softmax of its scores
afterwards. So it is marked as approximate, and passes the accuracy gate.

Does not apply when:
    - the mask is a computed value that no constant scales or fills,
    - what it masks is read by anything but Softmax (through Add, Reshape, Transpose and the like).

Source: IEEE 754 binary32 (exp(-103.98) rounds to 0); ONNX Softmax-13.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial

import numpy as np
import onnx_ir
from numpy.typing import NDArray

from edgeopt.graph.constants import add_initializer, array_of, free_name
from edgeopt.graph.editing import before
from edgeopt.graph.matching import Found, Refusal
from edgeopt.graph.rewrites import Example

ORDER = 60
EXACT = False
RTOL = 1e-6

LOWEST = -128.0
"""exp(LOWEST + 24) is still 0 in float32."""

_LARGE = -1000.0
"""What is above is taken for a number, not for a mask."""

_MAX_READERS = 256
_WHOLE = (onnx_ir.DataType.BOOL, onnx_ir.DataType.INT32, onnx_ir.DataType.INT64)
_PASSING = frozenset({"Reshape", "Transpose", "Unsqueeze", "Squeeze", "Expand", "Identity", "Cast", "Slice"})


class BoundMask:
    """An operator that brings a large negative constant into a Softmax."""

    def find(self, model: onnx_ir.Model, node: onnx_ir.Node) -> Found | Refusal | None:
        """See `edgeopt.graph.rewrites.Rule`."""
        if node.op_type not in ("Add", "Where", "Mul") or node.domain:
            return None
        position = next(
            (i for i, v in enumerate(node.inputs) if (a := array_of(v)) is not None and _masks(a)), None
        )
        if position is None:
            return None
        array = array_of(node.inputs[position])
        if array is None or (node.op_type == "Mul" and not _scales_zero_or_one(node, position)):
            return Refusal("what the large constant scales is not 1 or 0")
        if not _ends_in_softmax(node, is_mask=node.op_type != "Add"):
            return Refusal("what it masks is not read by Softmax alone")
        return Found((node,), partial(_bound, model.graph, node, position, array))


def _masks(array: NDArray[np.generic]) -> bool:
    return array.dtype.kind == "f" and array.size > 0 and bool(array.min() < _LARGE)


def _scales_zero_or_one(node: onnx_ir.Node, position: int) -> bool:
    """Whether the other operand is a mask: 1 - x, or what was cast from a bool or an integer."""
    other = _behind(node.inputs[1 - position])
    if (flipped := before(other, {"Sub"})) is not None:
        one = array_of(flipped.inputs[0])
        if one is None or not (one == 1).all():
            return False
        other = _behind(flipped.inputs[1])
    cast = before(other, {"Cast"})
    source = cast.inputs[0] if cast is not None else None
    return source is not None and source.dtype in _WHOLE


def _behind(value: onnx_ir.Value | None) -> onnx_ir.Value | None:
    """What a value is a view of."""
    while (passing := before(value, _PASSING - {"Cast"})) is not None:
        value = passing.inputs[0]
    return value


def _ends_in_softmax(node: onnx_ir.Node, *, is_mask: bool) -> bool:
    """Follow every reader: a mask is added to scores once, and scores end in Softmax."""
    pending, seen, softmaxes = [(node.outputs[0], is_mask)], 0, 0
    while pending:
        value, mask = pending.pop()
        if value.is_graph_output():
            return False
        for reader, _ in value.uses():
            seen += 1
            if seen > _MAX_READERS or reader.domain or reader.graph is not node.graph:
                return False
            if reader.op_type == "Softmax":
                softmaxes += 1
            elif reader.op_type in _PASSING:
                pending.append((reader.outputs[0], mask))
            elif reader.op_type == "Add" and mask:
                pending.append((reader.outputs[0], False))
            else:
                return False
    return softmaxes > 0


def _bound(
    graph: onnx_ir.Graph, node: onnx_ir.Node, position: int, array: NDArray[np.generic]
) -> Sequence[onnx_ir.Node]:
    bounded = np.maximum(array, np.asarray(LOWEST, array.dtype))
    node.replace_input_with(position, add_initializer(graph, f"{node.outputs[0].name}_bounded", bounded))
    _rename(graph, node)
    return [node]


def _rename(graph: onnx_ir.Graph, node: onnx_ir.Node) -> None:
    """Give what was masked a new name: the range that was calibrated under the old one holds no more."""
    pending = [node]
    while pending:
        output = pending.pop().outputs[0]
        output.name = free_name(graph, f"{output.name}_bounded")
        pending += [reader for reader, _ in output.uses() if reader.op_type != "Softmax"]


RULES = (BoundMask(),)


def _example(
    body: str, becomes: tuple[str, ...] | None, reason: str = "", out: str = "float[2,3] y"
) -> Example:
    return Example(
        f"""<ir_version: 8, opset_import: ["": 17]>
        agraph (float[2,3] x, int64[2,3] tokens, bool[2,1] c) => ({out})
        <float[3] mask = {{0, 0, -10000}}, float low = {{-3.4e38}}, float one = {{1}},
         float gentle = {{-2}}, bool[3] some = {{0, 1, 1}}>
        {{ {body} }}""",
        becomes,
        reason,
    )


EXAMPLES = (
    _example("s = Add(x, mask) y = Softmax(s)", ("Add", "Softmax")),
    _example("t = Cast <to = 1> (tokens) n = Sub(one, t) m = Mul(n, low) s = Add(x, m) y = Softmax(s)",
             ("Cast", "Sub", "Mul", "Add", "Softmax")),
    _example("b = And(c, some) w = Where(b, low, x) y = Softmax(w)", ("And", "Where", "Softmax")),
    _example("t = Sigmoid(x) n = Sub(one, t) m = Mul(n, low) s = Add(x, m) y = Softmax(s)", None, "1 or 0"),
    _example("b = And(c, some) f = Cast <to = 1> (b) m = Mul(f, low) s = Add(x, m) y = Softmax(s)",
             ("And", "Cast", "Mul", "Add", "Softmax")),
    _example("s = Add(x, mask) y = Softmax(s) z = Relu(s)", None, "Softmax alone",
             out="float[2,3] y, float[2,3] z"),
    _example("m = Mul(x, low) y = Softmax(m)", None, "not 1 or 0"),
    _example("s = Add(x, gentle) y = Softmax(s)", None),
)  # fmt: skip
