"""Take an input as the bytes that its values are made of, and compute the values in the graph.

    x = s p + b, p being bytes: x = (Cast(p) + b / s) s

What the graph begins with is put into s and b as well: Cast, and Mul, Div, Add and Sub with constants. Mul
then goes into the weights of the first Conv or Gemm (`fold_scale_into_next_conv`), and Add too where nothing
is padded with zeros: in a padded Conv a zero of x is the byte -b / s, which zeros of p are not, so there the
Add stays in front of it.

Before:
    f(Sub(Div(x, 255), mean)), x float32
After:
    f(Mul(Add(Cast(x), b / s), s)), x uint8; a Transpose that x begins with moves bytes

Weights: s and b are one number or one per channel, from `[data.preprocess]` and the graph's own constants
(of at most 1,024 elements). Computed in float64, stored in float32 (float64 for such an input).

Does not apply when:
    - nothing says that the input's values are bytes: images and uint8 arrays are, other data are not,
    - the input is an output of the model, too, or integers that are not cast to floats,
    - a scale is 0: then bytes are not known from values.

It changes the interface: only offered with `--allow-interface uint8-input`. Its outputs equal the
original's on inputs that were converted from bytes.

Source: ONNX Cast-13, Add-14, Mul-14; linearity.
"""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
import onnx_ir
from numpy.typing import NDArray

from edgeopt.core.interface import Levels
from edgeopt.graph.constants import add_initializer, array_of
from edgeopt.graph.convolution import Doubles
from edgeopt.graph.editing import permutation
from edgeopt.graph.flops import sizes
from edgeopt.graph.interface import change, change_of, levels_of, put_first
from edgeopt.graph.matching import Found, Refusal, is_shared, made
from edgeopt.graph.rewrites import Example

ORDER = 1  # all others see the graph that begins with bytes
EXACT = True
RTOL = 1e-5
INTERFACE = "uint8-input"

MOST_CONSTANTS = 1024
_FLOATS = (onnx_ir.DataType.FLOAT, onnx_ir.DataType.DOUBLE, onnx_ir.DataType.FLOAT16)
_INTEGERS = (onnx_ir.DataType.INT32, onnx_ir.DataType.INT64, onnx_ir.DataType.INT16, onnx_ir.DataType.INT8)


@dataclass(slots=True)
class _Way:
    """What follows an input and goes into its scale and shift.

    Attributes:
        end: The value that is computed from bytes instead.
        moves: Transposes that move bytes from now on.
        gone: Nodes that are not needed any more.
    """

    end: onnx_ir.Value
    scale: Doubles
    shift: Doubles
    moves: list[onnx_ir.Node] = field(default_factory=list)
    gone: list[onnx_ir.Node] = field(default_factory=list)


class ToBytes:
    """A node that reads an input of the model."""

    def find(self, model: onnx_ir.Model, node: onnx_ir.Node) -> Found | Refusal | None:
        """See `edgeopt.graph.rewrites.Rule`."""
        refusal = None
        for value in node.inputs:
            if value is None or not value.is_graph_input() or value.is_initializer():
                continue
            if value.graph is not model.graph or value.dtype == onnx_ir.DataType.UINT8 or change_of(value):
                continue
            found = _place(model.graph, node, value)
            if isinstance(found, Found):
                return found
            refusal = refusal or found
        return refusal


def _place(graph: onnx_ir.Graph, node: onnx_ir.Node, value: onnx_ir.Value) -> Found | Refusal | None:
    if value.dtype not in (*_FLOATS, *_INTEGERS) or sizes(value) is None:
        return None
    levels = levels_of(value)
    if isinstance(levels, str):
        return Refusal(f"input {value.name}: {levels}")
    if value.is_graph_output():
        return Refusal("the input is an output of the model, too")
    if not all(levels.scale):
        return Refusal("a scale is 0: bytes are not known from values")
    way = _followed(value, levels)
    if way.end.dtype not in _FLOATS:
        return Refusal("the input holds integers, which nothing casts to floats")

    def replace() -> list[onnx_ir.Node]:
        return _replace(graph, value, levels, way)

    return Found((node, *way.gone), replace)


def _followed(value: onnx_ir.Value, levels: Levels) -> _Way:
    shape = sizes(value) or ()
    along = [1] * len(shape)
    if levels.axis is not None:
        along[levels.axis] = len(levels.scale)
    scale, shift = (np.asarray(each, np.float64).reshape(along) for each in (levels.scale, levels.shift))
    way = _Way(value, scale, shift)
    while _step(way):
        pass
    return way


def _step(way: _Way) -> bool:
    """Go one node further, if it can be put into scale and shift."""
    if is_shared(way.end) or not way.end.uses():
        return False
    node = next(iter(way.end.uses())).node
    if node.domain or node.graph is not way.end.graph or node.outputs[0].is_graph_output():
        return False
    if node.op_type == "Transpose" and not way.gone and (order := permutation(node)) is not None:
        way.scale, way.shift = way.scale.transpose(order), way.shift.transpose(order)
        way.moves.append(node)
    elif node.op_type == "Cast" and way.end.dtype in _INTEGERS and node.outputs[0].dtype in _FLOATS:
        way.gone.append(node)
    elif way.end.dtype in _FLOATS and (effect := _effect(node, way.end)) is not None:
        factor, term = effect
        way.scale, way.shift = way.scale * factor, way.shift * factor + term
        way.gone.append(node)
    else:
        return False
    way.end = node.outputs[0]
    return True


def _effect(node: onnx_ir.Node, value: onnx_ir.Value) -> tuple[Doubles, Doubles] | None:
    """What a node multiplies a value by, and what it then adds; None for any other operation."""
    if node.op_type not in ("Mul", "Div", "Add", "Sub") or sizes(node.outputs[0]) != sizes(value):
        return None
    position = 0 if node.inputs[0] is value else 1
    array = array_of(node.inputs[1 - position])
    if array is None or array.dtype.kind != "f" or array.size > MOST_CONSTANTS:
        return None
    constant = array.astype(np.float64).reshape((1,) * (len(sizes(value) or ()) - array.ndim) + array.shape)
    none, once = np.zeros(1), np.ones(1)
    if node.op_type in ("Mul", "Div"):
        if not constant.all() or (node.op_type == "Div" and position == 1):
            return None
        return (constant if node.op_type == "Mul" else 1 / constant), none
    if node.op_type == "Add":
        return once, constant
    return (once, -constant) if position == 0 else (-once, constant)


def _replace(graph: onnx_ir.Graph, value: onnx_ir.Value, levels: Levels, way: _Way) -> list[onnx_ir.Node]:
    end, readers, shape = way.end, list(way.end.uses()), sizes(way.end)
    final = end.dtype
    change(value, INTERFACE, levels=levels)
    for move in way.moves:
        move.outputs[0].type = onnx_ir.TensorType(onnx_ir.DataType.UINT8)
    double = final == onnx_ir.DataType.DOUBLE
    computed, stored = (
        (onnx_ir.DataType.DOUBLE, np.float64) if double else (onnx_ir.DataType.FLOAT, np.float32)
    )
    source = way.moves[-1].outputs[0] if way.moves else value
    new = [made("Cast", [source], {"to": int(computed)}, shape, computed)]
    for operator, array in (("Add", way.shift / way.scale), ("Mul", way.scale)):
        if (array != (operator == "Mul")).any():
            constant = add_initializer(graph, f"{value.name}_{operator.lower()}", _stored(array, stored))
            new.append(made(operator, [new[-1].outputs[0], constant], shape=shape, dtype=computed))
    if final != computed and final is not None:
        new.append(made("Cast", [new[-1].outputs[0]], {"to": int(final)}, shape, final))
    put_first(graph, new, way.moves[-1] if way.moves else None)
    for reader, position in readers:
        reader.replace_input_with(position, new[-1].outputs[0])
    if way.gone:  # the same values as before: under their name their range is known
        name, end.name = end.name, None
        new[-1].outputs[0].name = name
        graph.remove(way.gone, safe=True)
    return new


def _stored(array: Doubles, dtype: type[np.floating]) -> NDArray[np.generic]:
    """One number where all are equal."""
    first = array.reshape(-1)[:1]
    same = bool((array == first).all())
    return (first.reshape(()) if same else array).astype(dtype)


RULES = (ToBytes(),)


_RAW = Levels()


def _example(
    body: str,
    becomes: tuple[str, ...] | None,
    reason: str = "",
    out: str = "float[1,2,4,4] y",
    levels: Levels | None = _RAW,
    given: str = "float[1,2,4,4]",
) -> Example:
    return Example(
        f"""<ir_version: 8, opset_import: ["": 17]> agraph ({given} x) => ({out})
        <float[2,2,1,1] w = {{1, 2, 3, 4}}, float[2,1,1] mean = {{0.5, 0.25}}, float std = {{0.25}},
         float most = {{255}}, float nothing = {{0}}> {{ {body} }}""",
        becomes,
        reason,
        {"x": levels} if levels is not None else {},
    )


_PIXELS = Levels((0.0171, 0.0175), (-2.118, -2.036), 1)

EXAMPLES = (
    _example("y = Conv(x, w)", ("Cast", "Conv")),
    _example("y = Conv(x, w)", ("Cast", "Add", "Mul", "Conv"), levels=_PIXELS),
    _example(
        "d = Div(x, most) a = Sub(d, mean) s = Div(a, std) y = Conv(s, w)", ("Cast", "Add", "Mul", "Conv")
    ),
    _example(
        "c = Mul(most, x) a = Sub(mean, c) y = Relu(a)", ("Cast", "Add", "Relu"), levels=Levels((-1 / 255,))
    ),
    _example(
        "t = Transpose <perm = [0, 2, 3, 1]> (x) r = Mul(t, most) y = Relu(r)",
        ("Transpose", "Cast", "Add", "Mul", "Relu"), out="float[1,4,4,2] y", levels=_PIXELS,
    ),
    _example(
        "c = Conv(x, w) y = Add(c, x)", ("Cast", "Mul", "Conv", "Add"), levels=Levels((1 / 255,)),
    ),
    _example("c = Cast <to = 1> (x) y = Conv(c, w)", ("Cast", "Conv"), given="int64[1,2,4,4]"),
    _example("y = Conv(x, w)", None, "nothing says", levels=None),
    _example("r = Neg(x) y = Cast <to = 1> (r)", None, "integers", given="int64[1,2,4,4]"),
    _example("y = Relu(x)", None, "0", levels=Levels((0.0,))),
    _example("y = Relu(x)", None, given="uint8[1,2,4,4]", out="uint8[1,2,4,4] y", levels=None),
)  # fmt: skip
