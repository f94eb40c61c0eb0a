"""Dynamic int8: weights in int8, activations quantized anew at every inference; needs no calibration.

Maths: s_x, z_x from the extremes of x at run time (uint8), W_q = round(W / s_w) with s_w[c] = max|W[c]| / 127
for each output channel c, y = s_x s_w ((x_q - z_x) W_q) + b in float32.

Before / after
    MatMul, Gemm    -> com.microsoft.DynamicQuantizeMatMul; where several read the same tensor, one
                       DynamicQuantizeLinear and com.microsoft.MatMulIntegerToFloat for each (ONNX Runtime
                       does not fuse these itself once the quantization is shared). An Add of a constant
                       vector behind MatMul becomes its bias.
    Conv            -> DynamicQuantizeLinear, ConvInteger, Cast, Mul, Add. The weights are uint8 around 128:
                       ConvInteger of older runtimes takes no int8.
    LSTM            -> com.microsoft.DynamicQuantizeLSTM
    GRU             -> DynamicQuantizeMatMul and gates, step by step, up to 32 steps (`_gru`)
    Gather (table)  -> Gather from an int8 table, DequantizeLinear

Does not apply to (they stay in float32): weights that are computed, not finite or of another rank than the
kernel takes; Gemm with transA; LSTM with peepholes or batch-first layout; GRU of unknown or greater length;
RNN (no kernel); nodes inside the bodies of If, Loop and Scan; opsets below 11.

Source: ONNX DynamicQuantizeLinear-11, ConvInteger-10; ONNX Runtime ContribOperators: DynamicQuantizeMatMul,
MatMulIntegerToFloat, DynamicQuantizeLSTM.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import onnx_ir as ir

from edgeopt.graph.precision import _arithmetic as arithmetic
from edgeopt.graph.precision._arithmetic import Floats
from edgeopt.graph.precision._examples import CONV_OPSET_11, EMBEDDING, GRU, LSTM, MLP, SHARED_INPUT
from edgeopt.graph.precision._qdq import RECURRENT
from edgeopt.graph.precision._weights import constant, operand
from edgeopt.graph.regions import region_of

if TYPE_CHECKING:
    from edgeopt.graph.precision._edit import Edit

STATIC = False
LOSSY = True
WEIGHT_BITS = 8
MAX_ERROR = 0.05

MIN_OPSET = 11
CONTRIB = "com.microsoft"

EXAMPLES = (MLP, SHARED_INPUT, CONV_OPSET_11, LSTM, GRU, EMBEDDING)


def applies(node: ir.Node) -> bool:
    """See `Scheme.applies`."""
    opset = node.graph.opset_imports.get("", 1) if node.graph is not None else 0
    if node.domain or opset < MIN_OPSET or not node.inputs:
        return False
    if node.op_type in RECURRENT:
        return RECURRENT[node.op_type][0](node)
    if node.op_type == "Gather":
        return _is_floats(node.inputs[0]) and _rank(node.inputs[0]) > 1
    if node.op_type not in ("MatMul", "Gemm", "Conv") or len(node.inputs) < 2:
        return False
    data, weight = node.inputs[0], node.inputs[1]
    if data is None or constant(data) is not None or data.dtype not in (ir.DataType.FLOAT, None):
        return False
    if node.op_type == "Gemm" and node.attributes.get_int("transA", 0) != 0:
        return False
    return _is_floats(weight) and (_rank(weight) > 2 if node.op_type == "Conv" else _rank(weight) == 2)


def apply(node: ir.Node, edit: Edit) -> bool:
    """See `Scheme.apply`."""
    if not applies(node):
        return False
    if node.op_type in RECURRENT:
        return RECURRENT[node.op_type][1](node, edit)
    if node.op_type == "Gather" and edit.is_captured(node.outputs[0]):
        return False
    weight = node.inputs[0 if node.op_type == "Gather" else 1]
    if edit.weights.floats(weight) is None:
        return False
    write = {"Gather": _gather, "Conv": _conv}.get(node.op_type, _matrix_product)
    return write(node, edit)


def _matrix_product(node: ir.Node, edit: Edit) -> bool:
    data, weight = operand(node, 0), operand(node, 1)
    is_gemm = node.op_type == "Gemm"
    transposed = is_gemm and node.attributes.get_int("transB", 0) == 1
    alpha = node.attributes.get_float("alpha", 1.0) if is_gemm else 1.0
    made = edit.weights.int8(
        weight, 0 if transposed else 1, perm=(1, 0) if transposed else None, most=edit.most
    )
    columns = made.values.shape[1]
    last, bias = node, None
    if is_gemm and len(node.inputs) > 2 and node.inputs[2] is not None:
        beta = node.attributes.get_float("beta", 1.0)
        if (bias := _vector(edit.weights.floats(node.inputs[2]), columns, beta)) is None:
            return False
    elif not is_gemm and (added := _added_vector(node, columns, edit)) is not None:
        last, bias = added
    stored = edit.shared(
        weight, f"int8 {transposed}", lambda: edit.initializer(f"{weight.name}__int8", made.values)
    )
    scale = edit.initializer(f"{node.name}__scale", made.scale * np.float32(alpha))
    bias_value = None if bias is None else edit.initializer(f"{node.name}__bias", bias)
    if _is_shared(data, edit):
        integers, data_scale, zero_point = _quantized(data, node, edit)
        inputs = [integers, stored, data_scale, scale, zero_point, None, bias_value]
        op_type = "MatMulIntegerToFloat"
    else:
        inputs, op_type = [data, stored, scale, None, bias_value], "DynamicQuantizeMatMul"
    while inputs[-1] is None:
        inputs.pop()
    fused = edit.make(op_type, inputs, region=region_of(node), name=str(node.name), domain=CONTRIB)
    edit.replace(node, fused, last.outputs[0])
    return True


def _conv(node: ir.Node, edit: Edit) -> bool:
    data, weight = operand(node, 0), operand(node, 1)
    bias = node.inputs[2] if len(node.inputs) > 2 else None
    made = edit.weights.int8(weight, 0)
    per_channel = (-1, *[1] * (made.values.ndim - 2))
    floats = edit.weights.floats(bias)
    if bias is not None and floats is None:
        return False
    region, name = region_of(node), str(node.name)
    around_128 = edit.shared(
        weight,
        "uint8",
        lambda: edit.initializer(f"{weight.name}__uint8", arithmetic.unsigned(made.values)),
    )
    zero = edit.initializer(f"{name}__zero", np.array(128, np.uint8))
    scale = edit.initializer(f"{name}__scale", made.scale.reshape(per_channel))
    integers, data_scale, zero_point = _quantized(data, node, edit)
    products = edit.make(
        "ConvInteger", [integers, around_128, zero_point, zero], region=region, name=name,
        attributes=dict(node.attributes),
    )  # fmt: skip
    products.outputs[0].name = edit.fresh(f"{name}__int32")
    as_float = edit.make(
        "Cast",
        products.outputs,
        region=region,
        name=f"{name}_cast",
        attributes={"to": int(ir.DataType.FLOAT)},
    )
    unit = edit.make("Mul", [data_scale, scale], region=region, name=f"{name}_unit")
    scaled = edit.make("Mul", [as_float.outputs[0], unit.outputs[0]], region=region, name=f"{name}_scaled")
    made_nodes = [products, as_float, unit, scaled]
    if floats is not None:
        added = edit.initializer(f"{name}__bias", floats.reshape(per_channel))
        made_nodes.append(edit.make("Add", [scaled.outputs[0], added], region=region, name=f"{name}_biased"))
    for before in made_nodes[:-1]:
        edit.graph.insert_before(node, before)
    edit.replace(node, made_nodes[-1], node.outputs[0])
    return True


def _gather(node: ir.Node, edit: Edit) -> bool:
    table, output = operand(node, 0), node.outputs[0]
    made = edit.weights.int8(table, None)
    stored = edit.shared(table, "int8 table", lambda: edit.initializer(f"{table.name}__int8", made.values))
    scale = edit.initializer(f"{node.name}__scale", made.scale)
    node.replace_input_with(0, stored)
    # ONNX Runtime moves the pair past Transpose and the like, as uint8 where no zero point says int8.
    zero = edit.initializer(f"{node.name}__zero", np.zeros((), np.int8))
    to_float = edit.make(
        "DequantizeLinear", [output, scale, zero], region=region_of(node), name=f"dq_{output.name}"
    )
    edit.graph.insert_after(node, to_float)
    edit.take_over(output, to_float.outputs[0], but=to_float)
    output.type = ir.TensorType(ir.DataType.INT8)
    return True


def _quantized(data: ir.Value, reader: ir.Node, edit: Edit) -> tuple[ir.Value, ir.Value, ir.Value]:
    """uint8 values, scale and zero point of `data`, quantized once for all of its readers."""

    def make() -> ir.Node:
        name = f"dynamic_{data.name}"
        made = edit.make("DynamicQuantizeLinear", [data], region=region_of(reader), name=name, outputs=3)
        edit.graph.insert_before(reader, made)
        return made

    integers, scale, zero_point = edit.shared(data, "dynamic", make).outputs
    return integers, scale, zero_point


def _is_shared(data: ir.Value, edit: Edit) -> bool:
    """True if more than one dynamic int8 product or convolution reads `data`."""
    readers = {
        user
        for user, index in data.uses()
        if index == 0
        and edit.scheme_of(user) == "int8_dynamic"
        and user.op_type not in RECURRENT
        and applies(user)
    }
    quantized = any(user.op_type == "DynamicQuantizeLinear" for user, _ in data.uses())
    return quantized or len(readers) > 1


def _added_vector(node: ir.Node, columns: int, edit: Edit) -> tuple[ir.Node, Floats] | None:
    """The Add of a constant vector that alone reads `node`, if it is of the same scheme."""
    output = node.outputs[0]
    uses = tuple(output.uses())
    if len(uses) != 1 or output.is_graph_output():
        return None
    user, index = uses[0]
    if user.op_type != "Add" or user.domain or edit.scheme_of(user) != edit.scheme_of(node):
        return None
    other = edit.weights.floats(user.inputs[1 - index])
    if user.graph is not edit.graph or other is None or other.shape != (columns,):
        return None
    return user, other


def _vector(bias: Floats | None, columns: int, beta: float) -> Floats | None:
    """Gemm's C as one number per column; None if it has another form."""
    if bias is None or bias.size not in (1, columns) or (bias.ndim and bias.shape[-1] != bias.size):
        return None
    return np.ascontiguousarray(np.broadcast_to(bias.reshape(-1) * np.float32(beta), (columns,)))


def _is_floats(value: ir.Value | None) -> bool:
    tensor = constant(value)
    return tensor is not None and tensor.dtype == ir.DataType.FLOAT and tensor.size > 0


def _rank(value: ir.Value | None) -> int:
    tensor = constant(value)
    return 0 if tensor is None else len(tensor.shape)
