"""Where int8 begins with an input of bytes: the bytes are the integers, and nothing is quantized.

A value f p + t of bytes p has the range that 0 and 255 give, exactly. Quantized over that range by scale f
with the zero point -t / f, where that is one of the 256, it is p again: QuantizeLinear(f p + t) = p. So the
QuantizeLinear goes, with what computed the value, and the bytes feed DequantizeLinear -> Conv directly;
padding with its zero point is padding with the byte that means 0.

A zero point that is no whole number (mean 0.1307 of 255 is 33.3) is rounded, and what that moves goes into
the bias of the Conv: exactly, but where the Conv pads, with a value that is off by at most half a step.

Where activations are written as int8 (ARM), 128 lower, no operator makes that of bytes for nothing: there
they are cast, and QuantizeLinear with the scale 1 and the zero point -128 makes int8 of them without error.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

import numpy as np
import onnx_ir as ir

from edgeopt.graph.constants import add_initializer, array_of, constant_of, free_name
from edgeopt.graph.convolution import Doubles, Geometry
from edgeopt.graph.interface import change_of
from edgeopt.graph.precision._weights import Weights
from edgeopt.graph.regions import REGION_TAG, region_of

_MOVES = frozenset({"Transpose", "Reshape", "Flatten", "Squeeze", "Unsqueeze", "Identity"})
MIDDLE = 128
_CLOSE = 1e-4
"""Of a step: scales and shifts were rounded to float32, and are used on integers up to 255."""


@dataclass(frozen=True, slots=True)
class _Affine:
    """A value that is `factor` * byte + `term`, both of full rank or one number; the bytes, and they cast."""

    source: ir.Value
    cast: ir.Value
    factor: Doubles
    term: Doubles

    @property
    def range(self) -> tuple[float, float]:
        ends = np.stack([self.term + np.zeros_like(self.factor), 255 * self.factor + self.term])
        return float(ends.min()), float(ends.max())


def ranges(
    graph: ir.Graph, calibrated: Mapping[str, tuple[float, float] | None]
) -> dict[str, tuple[float, float] | None]:
    """The ranges of what is computed element by element, or only moved, from inputs that were changed.

    Args:
        calibrated: Of the original's tensors.
    """
    found: dict[str, tuple[float, float] | None] = {
        str(value.name): known.range for value, known in _computed(graph).items()
    }
    moved = {value for value in graph.inputs if change_of(value) is not None}
    for node in graph if moved else ():
        value = node.inputs[0] if node.inputs else None
        if value in moved and node.op_type in _MOVES and not node.domain:
            output = node.outputs[0]
            moved.add(output)
            name = str(value.name) if value is not None else ""
            if output.dtype == ir.DataType.FLOAT and (name in found or name in calibrated):
                found[str(output.name)] = found.get(name) or calibrated.get(name)
    return found


def center(graph: ir.Graph, is_static: Callable[[ir.Node], bool], weights: Weights) -> None:
    """Make the byte that means 0 a whole number where an int8 Conv reads values of bytes, in place.

    Where the shift has gone into the bias of a Conv that does not pad, it is set to the middle: what weights
    lose by rounding is multiplied by the bytes, whose mean would add up.
    """
    for value, known in _computed(graph).items():
        uses = tuple(value.uses())
        conv = uses[0].node if len(uses) == 1 and uses[0].idx == 0 else None
        if conv is None or conv.op_type != "Conv" or not is_static(conv) or known.factor.size != 1:
            continue
        weight, bias = weights.floats(conv.inputs[1]), weights.floats((*conv.inputs, None)[2])
        added, geometry = _added(value), Geometry.of(conv)
        if weight is None or geometry is None or (bias is None and len(conv.inputs) > 2):
            continue
        if added is not None:
            zero = -_number(added.inputs[1])
            wanted = round(zero) if 0 <= zero <= 255 else None
        else:
            zero, wanted = 0.0, None if geometry.is_padded or known.term.any() else MIDDLE
        if wanted is None or wanted == zero:
            continue
        constant = add_initializer(graph, f"{value.name}_zero_point", np.asarray(-wanted, np.float32))
        if added is not None:
            added.replace_input_with(1, constant)
        else:
            _add(value, constant, conv)
        moved = float(known.factor.reshape(-1)[0]) * (zero - wanted)
        sums = weight.astype(np.float64).reshape(len(weight), -1).sum(axis=1)
        corrected = (0.0 if bias is None else bias) - moved * sums
        if len(conv.inputs) < 3:
            conv.resize_inputs(3)
        conv.replace_input_with(2, add_initializer(graph, f"{value.name}_bias", corrected.astype(np.float32)))


def _add(value: ir.Value, constant: ir.Value, reader: ir.Node) -> None:
    """Let a reader read the sum of a value and a constant."""
    node = ir.node("Add", [value, constant], name=f"{reader.name}_centered")
    node.metadata_props[REGION_TAG] = region_of(reader)
    node.outputs[0].name = free_name(reader.graph, f"{value.name}_centered") if reader.graph else None
    node.outputs[0].type, node.outputs[0].shape = value.type, value.shape
    if reader.graph is not None:
        reader.graph.insert_before(reader, [node])
    reader.replace_input_with(0, node.outputs[0])


def _added(value: ir.Value) -> ir.Node | None:
    """The Add of one number to cast bytes that computes a value, also if that is then multiplied."""
    node = value.producer()
    if node is not None and node.op_type == "Mul" and node.inputs[0] is not None:
        node = node.inputs[0].producer()
    if node is None or node.op_type != "Add" or node.inputs[0] is None or len(node.outputs[0].uses()) != 1:
        return None
    cast, constant = node.inputs[0].producer(), array_of(node.inputs[1])
    is_one = constant is not None and constant.size == 1
    return node if is_one and cast is not None and cast.op_type == "Cast" else None


def _number(value: ir.Value | None) -> float:
    return float(constant_of(value).reshape(-1)[0])


def drop_quantizing(graph: ir.Graph) -> None:
    """Take out, in place, what leads from bytes to the integers that QuantizeLinear makes of them.

    Bytes themselves take its place; where int8 is asked for, it reads the cast bytes, and its zero point does
    the rest.
    """
    known = _computed(graph)
    for node in tuple(graph):
        value = node.inputs[0] if node.inputs else None
        if node.op_type != "QuantizeLinear" or node.domain or len(node.inputs) != 3:
            continue
        if value is None or value not in known:
            continue
        scale, zero_point = array_of(node.inputs[1]), array_of(node.inputs[2])
        if scale is None or zero_point is None or scale.size != 1 or zero_point.size != 1:
            continue
        moved = _moved(known[value], float(scale.reshape(-1)[0]))
        if moved is None:
            continue
        zero = moved + int(zero_point.reshape(-1)[0])
        if zero_point.dtype == np.uint8 and zero == 0:
            node.outputs[0].replace_all_uses_with(known[value].source)
            graph.remove(node, safe=True)
        elif zero_point.dtype == np.int8 and zero == np.iinfo(np.int8).min:
            node.replace_input_with(0, known[value].cast)
            one = add_initializer(graph, f"{known[value].cast.name}_scale", np.asarray(1, np.float32))
            low = add_initializer(graph, f"{known[value].cast.name}_zero_point", np.asarray(zero, np.int8))
            node.replace_input_with(1, one)
            node.replace_input_with(2, low)
    for value, _ in reversed(tuple(known.items())):
        producer = value.producer()
        if producer is not None and not value.uses() and not value.is_graph_output():
            graph.remove(producer, safe=True)


def _moved(value: _Affine, scale: float) -> int | None:
    """By how much a value in steps of `scale` is off the byte; None where it is not by a whole number."""
    steps, offsets = value.factor / scale, value.term / scale
    offset = round(float(offsets.reshape(-1)[0]))
    whole = (np.abs(steps - 1) <= _CLOSE / 255).all() and (np.abs(offsets - offset) <= _CLOSE).all()
    return offset if whole else None


def _computed(graph: ir.Graph) -> Mapping[ir.Value, _Affine]:
    """In the graph's order."""
    pixels = {v for v in graph.inputs if change_of(v) is not None and v.dtype == ir.DataType.UINT8}
    known: dict[ir.Value, _Affine] = {}
    for node in graph if pixels else ():
        value = node.inputs[0] if node.inputs else None
        if node.domain or len(node.outputs) != 1 or value is None:
            continue
        output = node.outputs[0]
        if value in pixels and node.op_type in _MOVES:
            pixels.add(output)
        elif value in pixels and node.op_type == "Cast" and output.dtype == ir.DataType.FLOAT:
            known[output] = _Affine(value, output, np.ones(1), np.zeros(1))
        elif value in known and node.op_type in ("Add", "Mul"):
            constant, before = array_of(node.inputs[1]), known[value]
            if constant is not None and constant.size <= max(before.factor.size, before.term.size, 4):
                number = constant.astype(np.float64)
                is_sum = node.op_type == "Add"
                known[output] = _Affine(
                    before.source,
                    before.cast,
                    before.factor if is_sum else before.factor * number,
                    before.term + number if is_sum else before.term * number,
                )
    return known
