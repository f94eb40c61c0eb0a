"""Static int8: which operators compute in int8, and how each is written in QDQ form.

What the two static schemes share. ONNX Runtime turns `DequantizeLinear -> op -> QuantizeLinear` into one int8
kernel for the operators named here, and computes any other in float32 between the two.
"""

from __future__ import annotations

import numpy as np
import onnx_ir as ir

from edgeopt.graph.precision import _arithmetic as arithmetic
from edgeopt.graph.precision import _gru, _lstm, scheme
from edgeopt.graph.precision._arithmetic import Floats
from edgeopt.graph.precision._edit import Edit
from edgeopt.graph.precision._weights import Int8, constant, operand

WEIGHTED = frozenset({"Conv", "Gemm", "MatMul"})
ELEMENTWISE = frozenset({"Add", "Mul", "Concat", "AveragePool", "GlobalAveragePool", "Sigmoid", "LeakyRelu"})
"""Each input and the output have a scale of their own. They are cheap, so they compute in int8 only on the
way from int8 nodes to the next product (`_is_inside`): at the fringe it would save nothing, and in what
exporters write for GELU or LayerNormalization (x * x * x, a mean, a variance) 8 bits destroy the result.
"""

WRITES_FLOAT = frozenset({"Gemm", "MatMul"})
"""Their int8 kernels give float32 at no cost where nobody reads int8: rounding would only lose accuracy."""

PASS_THROUGH = frozenset({
    "MaxPool", "Reshape", "Transpose", "Squeeze", "Unsqueeze", "Flatten", "Slice", "Split", "Gather",
    "Expand", "Resize", "DepthToSpace",
})  # fmt: skip
"""They move values or pick among them: the output has the scale of the input, and no value is rounded."""

PADDING = frozenset({"Pad"})
"""Moves values too, but the runtime leaves it in float32 between a pair: it is written on the integers."""

FOLDED = frozenset({"Relu", "Clip"})
"""Computed by the saturation of the QuantizeLinear behind them, whose range was calibrated behind them."""

RECURRENT = {
    "LSTM": (_lstm.is_quantizable, _lstm.quantize_lstm),
    "GRU": (_gru.is_quantizable, _gru.quantize_gru),
}
"""There are no static kernels: what enters them is quantized at every inference, as `int8_dynamic` does."""

MIN_OPSET = 10
"""QuantizeLinear, DequantizeLinear. A scale per channel needs 13."""


def applies(node: ir.Node, min_opset: int = MIN_OPSET) -> bool:
    """True for what computes in int8; what only passes values on follows its neighbours."""
    if not _in_reach(node, min_opset) or any(_is_dequantized(value) for value in node.inputs):
        return False
    if node.op_type == "Gather":
        return _is_table(node)
    if node.op_type in RECURRENT:
        return RECURRENT[node.op_type][0](node)
    if node.outputs[0].dtype not in (ir.DataType.FLOAT, None):
        return False
    return node.op_type in ELEMENTWISE or node.op_type == "MatMul" or has_weight(node)


def apply(node: ir.Node, edit: Edit, *, per_channel: bool) -> bool:
    """Write `node` in QDQ form; False leaves it untouched."""
    pairs = edit.pairs
    if not _in_reach(node, 13 if per_channel else MIN_OPSET):
        return False
    if node.op_type in FOLDED and pairs.is_folded(node):
        pairs.write(node.outputs[0])
        return True
    if any(v is not None and _is_dequantized(v) and not pairs.is_known(v) for v in node.inputs):
        return False
    if node.op_type in RECURRENT:
        return RECURRENT[node.op_type][0](node) and RECURRENT[node.op_type][1](node, edit)
    if has_weight(node):
        return _weighted(node, edit, per_channel)
    if node.op_type == "MatMul" or (node.op_type in ELEMENTWISE and _is_inside(node, edit)):
        return _elementwise(node, edit)
    if node.op_type in PADDING:
        return _pad(node, edit)
    return node.op_type in PASS_THROUGH and _pass_through(node, edit)


def _weighted(node: ir.Node, edit: Edit, per_channel: bool) -> bool:
    data, weight, bias = operand(node, 0), operand(node, 1), (*node.inputs, None)[2]
    affine, weights, floats = edit.pairs.affine(data), edit.weights.floats(weight), None
    if affine is None or weights is None or not _plan_output(node, edit, dry=True):
        return False
    axis = _channel_axis(node, weights.ndim)
    if bias is not None and (floats := _bias(edit.weights.floats(bias), weights.shape[axis])) is None:
        return False
    least = arithmetic.least_scale(floats, affine.scale)
    if weights.ndim > 2 and node.op_type == "MatMul":
        per_channel = False  # QLinearMatMul takes a scale per column of a matrix only
    made = edit.weights.int8(weight, axis if per_channel else None, least=least, most=edit.most)
    made, correction = _rounded(node, axis, made, edit)
    node.replace_input_with(0, edit.pairs.read(data, node))
    node.replace_input_with(1, edit.pairs.weight(weight, made, node))
    if correction is not None and node.op_type == "MatMul":
        _correct_sum(node, correction, edit)
    elif correction is not None:
        floats = correction if floats is None else floats + correction
        node.resize_inputs(3)
    if floats is not None:
        levels, unit = arithmetic.quantize_bias(floats, affine.scale, made.scale)
        node.replace_input_with(2, edit.pairs.bias(levels, unit, node))
    _plan_output(node, edit)
    return True


def _rounded(node: ir.Node, axis: int, made: Int8, edit: Edit) -> tuple[Int8, Floats | None]:
    """The weight by the candidate's rounding, and what corrects the layer's bias."""
    if edit.rounding is None:
        return made, None
    has_bias = node.op_type != "MatMul" or _sum_behind(node, made.values.shape[axis], edit) is not None
    return edit.rounding.of(node, axis, made, edit.weights, has_bias=has_bias)


def _sum_behind(node: ir.Node, columns: int, edit: Edit) -> tuple[ir.Node, int, Floats] | None:
    """The Add of a constant vector that alone reads a MatMul, which input is the vector, and the vector."""
    uses = tuple(node.outputs[0].uses())
    if len(uses) != 1 or node.outputs[0].is_graph_output():
        return None
    user, index = uses[0]
    if user.op_type != "Add" or user.domain or user.graph is not edit.graph:
        return None
    floats = edit.weights.floats(user.inputs[1 - index])
    if floats is None or floats.size != columns or floats.shape[-1:] != (columns,):
        return None
    return user, 1 - index, floats


def _correct_sum(node: ir.Node, correction: Floats, edit: Edit) -> None:
    behind = _sum_behind(node, len(correction), edit)
    if behind is not None:
        user, index, floats = behind
        name = f"{operand(user, index).name}__corrected"
        user.replace_input_with(index, edit.initializer(name, floats + correction))


def _elementwise(node: ir.Node, edit: Edit) -> bool:
    inputs = [value for value in node.inputs if value is not None]
    if all(constant(value) is not None for value in inputs):
        return False
    if any(edit.pairs.affine(value) is None for value in inputs) or not _plan_output(node, edit, dry=True):
        return False
    for index, value in enumerate(inputs):
        node.replace_input_with(index, edit.pairs.read(value, node))
    _plan_output(node, edit)
    return True


def _pass_through(node: ir.Node, edit: Edit) -> bool:
    data = operand(node, 0)
    if edit.pairs.affine(data) is None:
        return False
    if not edit.pairs.is_computed(data) and not _is_table(node):
        return False
    outputs = [value for value in node.outputs if value.uses() or value.is_graph_output()]
    if any(edit.is_captured(value) for value in outputs):
        return False
    if node.op_type != "Split" and outputs != [node.outputs[0]]:
        return False  # MaxPool's indices
    source = edit.pairs.read(data, node)
    node.replace_input_with(0, source)
    for value in outputs:
        edit.pairs.write(value, like=source)
    return True


def _pad(node: ir.Node, edit: Edit) -> bool:
    """Pad on integers: with copies of what is there, or with zeros, which are the zero point."""
    data, value = operand(node, 0), (*node.inputs, None, None)[2]
    mode, filled = node.attributes.get_string("mode", "constant"), edit.weights.floats(value)
    is_zero = value is None or (filled is not None and not filled.any())
    copies = mode in ("reflect", "edge")
    if not (copies or (mode == "constant" and is_zero)) or not _in_reach(node, 13):
        return False
    if not edit.pairs.is_computed(data) or edit.is_captured(node.outputs[0]):
        return False
    if not _is_wanted(node.outputs[0], edit):
        return False
    edit.pairs.write_integers(node, [None, operand(node, 1), None, *node.inputs[3:]], like=data)
    return True


def _plan_output(node: ir.Node, edit: Edit, *, dry: bool = False) -> bool:
    """Quantize the output of `node`, or of the activation behind it; False if its range is not known."""
    output = node.outputs[0]
    if (activation := _activation(node, edit)) is not None:
        if not dry:
            edit.pairs.fold(activation)
        return True
    if node.op_type in WRITES_FLOAT and not _is_wanted(output, edit):
        # The runtime makes MatMul and Add one Gemm before it looks for pairs, and computes that in float32.
        added = node.op_type == "MatMul" and any(user.op_type == "Add" for user, _ in output.uses())
        if not added:
            return True
    if edit.pairs.affine(output) is None or edit.is_captured(output):
        return False
    if not dry:
        edit.pairs.write(output)
    return True


def _activation(node: ir.Node, edit: Edit) -> ir.Node | None:
    """The Relu or Clip that alone reads `node` and is static int8 too."""
    output = node.outputs[0]
    uses = tuple(output.uses())
    if len(uses) != 1 or uses[0][1] != 0 or output.is_graph_output():
        return None
    user = uses[0][0]
    if user.op_type not in FOLDED or user.domain or user.graph is not edit.graph:
        return None
    result = user.outputs[0]
    if not _is_static(user, edit) or edit.pairs.affine(result) is None or edit.is_captured(result):
        return None
    if (
        node.op_type in WRITES_FLOAT
    ):  # else the activation would be computed on rounded values for no int8 reader
        return user if _is_wanted(result, edit) else None
    return user


def _is_inside(node: ir.Node, edit: Edit) -> bool:
    """True between int8 nodes: all computed inputs are int8, and the output reaches a product as int8."""
    computed = [value for value in node.inputs if value is not None and constant(value) is None]
    if not computed or not all(edit.pairs.is_computed(value) for value in computed):
        return False
    return _is_wanted(node.outputs[0], edit)


def _is_wanted(value: ir.Value, edit: Edit) -> bool:
    """True if a node reads `value` as int8: a product, or what carries int8 on to one."""
    readers = edit.shared(None, "int8 readers", lambda: int8_readers(edit))
    return str(value.name) in edit.outflow or any(user in readers for user, _ in value.uses())


def int8_readers(edit: Edit) -> set[ir.Node]:
    """Products, and what carries int8 on to one."""
    found: set[ir.Node] = set()
    for node in reversed(edit.graph):
        if node.domain or not _is_static(node, edit):
            continue
        if node.op_type == "MatMul" or has_weight(node):
            found.add(node)
        elif node.op_type in ELEMENTWISE | PASS_THROUGH | PADDING | FOLDED:
            readers = (user for output in node.outputs for user, _ in output.uses())
            leaves = any(str(output.name) in edit.outflow for output in node.outputs)
            if leaves or any(user in found for user in readers):
                found.add(node)
    return found


def _is_static(node: ir.Node, edit: Edit) -> bool:
    return scheme(edit.scheme_of(node)).STATIC


def _in_reach(node: ir.Node, min_opset: int) -> bool:
    graph = node.graph
    opset = graph.opset_imports.get("", 1) if graph is not None else 0
    return not node.domain and opset >= min_opset


def has_weight(node: ir.Node) -> bool:
    """A constant float32 weight in the form that the int8 kernels take."""
    if node.op_type not in WEIGHTED or len(node.inputs) < 2:
        return False
    tensor = constant(node.inputs[1])
    if tensor is None or tensor.dtype != ir.DataType.FLOAT or tensor.size == 0 or len(tensor.shape) < 2:
        return False
    if node.op_type != "Gemm":
        return constant(node.inputs[0]) is None
    plain = all(node.attributes.get_float(name, 1.0) == 1.0 for name in ("alpha", "beta"))
    return plain and node.attributes.get_int("transA", 0) == 0


def _is_table(node: ir.Node) -> bool:
    """Gather from a constant float32 table (an embedding)."""
    if node.op_type != "Gather" or not node.inputs:
        return False
    tensor = constant(node.inputs[0])
    return tensor is not None and tensor.dtype == ir.DataType.FLOAT and len(tensor.shape) > 1


def _is_dequantized(value: ir.Value | None) -> bool:
    producer = value.producer() if value is not None else None
    return producer is not None and producer.op_type == "DequantizeLinear"


def _channel_axis(node: ir.Node, rank: int) -> int:
    if node.op_type == "Conv":
        return 0
    transposed = node.op_type == "Gemm" and node.attributes.get_int("transB", 0) == 1
    return 0 if transposed else rank - 1


def _bias(bias: Floats | None, channels: int) -> Floats | None:
    """The bias as one number per channel; None if it has another form (Gemm's C may be a matrix)."""
    if bias is None or bias.size not in (1, channels) or (bias.ndim and bias.shape[-1] != bias.size):
        return None
    return np.broadcast_to(bias.reshape(-1), (channels,))
