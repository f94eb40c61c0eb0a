"""Tells what a model file asks of a machine: the nodes that onnxruntime would execute, with their costs.

A runtime does not execute the graph as written: it folds constants, folds BatchNormalization and
activations into the convolution before them, and turns `DequantizeLinear -> Conv -> QuantizeLinear` into one
int8 kernel. `costs` foresees these; what it does not foresee is counted as written.
"""

from __future__ import annotations

from collections.abc import Mapping

import onnx_ir

from edgeopt.core.artifact import Artifact
from edgeopt.core.errors import ModelError
from edgeopt.core.workload import Compute, NodeCost
from edgeopt.graph.constants import lift
from edgeopt.graph.contributed import SAME_AS_FIRST
from edgeopt.graph.execution import Execution
from edgeopt.graph.flops import elements, nbytes, node_flops, sizes
from edgeopt.graph.freeze import fix_inputs, name_nodes
from edgeopt.graph.shapes import infer, infer_through_values

COPIES_NOTHING = frozenset({"Reshape", "Flatten", "Squeeze", "Unsqueeze", "Shape", "Size"})
"""Operators that only relabel memory."""

READS_WHAT_IT_WRITES = frozenset({"Gather", "GatherBlockQuantized", "GatherElements", "GatherND", "Slice"})
"""Operators that touch only the selected part of their first input."""

INT8_KERNELS = (
    "QLinear",
    "ConvInteger",
    "MatMulInteger",
    "DynamicQuantizeMatMul",
    "DynamicQuantizeLSTM",
    "QGemm",
)

CONTRIBUTED_PRODUCTS = frozenset(
    {"DynamicQuantizeMatMul", "FusedGemm", "MatMulIntegerToFloat", "MatMulNBits"}
)

COUNTED_AS_STANDARD = SAME_AS_FIRST | {
    "FusedConv", "FusedMatMul", "QGemm", "QLinearAdd", "QLinearMul", "QLinearAveragePool", "QLinearConcat",
    "QLinearGlobalAveragePool", "QLinearReduceMean", "QLinearWhere", "NhwcMaxPool", "QuantizeLinear",
    "DequantizeLinear", "DynamicQuantizeLSTM", "GatherBlockQuantized",
}  # fmt: skip
"""Operators of com.microsoft that cost what `node_flops` says; others are not guessed at."""


def workload(artifact: Artifact, shapes: Mapping[str, tuple[int, ...]]) -> tuple[NodeCost, ...]:
    """The executed nodes of an artifact, in topological order.

    Args:
        artifact: Its file may leave sizes open, as the original of a model with a dynamic batch does.
        shapes: Of one inference's inputs, by name; inputs that it lacks are shaped as the file says.

    Raises:
        ModelError: No ONNX model, unreadable, of other inputs, or a shape or a cost cannot be known.
    """
    if artifact.runtime != "onnxruntime":
        raise ModelError(
            "what the operators of a LiteRT model cost is not known without running it",
            hint="measure it on a real or a virtual board",
        )
    try:
        model = onnx_ir.load(artifact.path)
    except Exception as error:  # whatever the parser raises on a broken file
        raise ModelError(f"cannot read {artifact.path}: {error}") from error
    fix_inputs(model, shapes)
    level = artifact.session_options.get("graph_optimization_level", "all")
    return costs(model, fused=level in ("extended", "all"))


def costs(model: onnx_ir.Model, *, fused: bool) -> tuple[NodeCost, ...]:
    """The executed nodes of a graph with static inputs, in topological order.

    Args:
        model: Is changed: shapes are written into it.
        fused: The runtime fuses nodes (its optimization level is `extended` or `all`).

    Raises:
        ModelError: A shape or a cost cannot be known.
    """
    lift(model)
    name_nodes(model)
    infer(model, strict=False)
    infer_through_values(model)
    execution = Execution(model.graph, fused=fused)
    return tuple(_cost(node, execution) for node in execution.nodes)


def _cost(node: onnx_ir.Node, execution: Execution) -> NodeCost:
    outputs = [v for v in execution.outputs(node) if v.name]
    write_bytes = sum(_bytes(value) for value in outputs)
    inputs = [value for value in execution.inputs(node) if value is not None and value.name]
    weight_bytes = sum(_bytes(value) for value in inputs if execution.is_constant(value))
    if node.op_type in COPIES_NOTHING:
        read_bytes = write_bytes = weight_bytes = 0
    elif node.op_type in READS_WHAT_IT_WRITES:
        read_bytes, weight_bytes = write_bytes + sum(_bytes(value) for value in inputs[1:]), 0
    else:
        read_bytes = sum(_bytes(value) for value in inputs)
    return NodeCost(
        name=str(node.name),
        op_type=node.op_type,
        flops=_flops(node),
        read_bytes=read_bytes,
        write_bytes=write_bytes,
        compute=_compute(node, execution),
        weight_bytes=weight_bytes,
    )


def _compute(node: onnx_ir.Node, execution: Execution) -> Compute:
    if node in execution.int8 or node.op_type.startswith(INT8_KERNELS):
        return "int8"
    first = next((value for value in node.inputs if value is not None), None)
    return "float16" if first is not None and first.dtype is onnx_ir.DataType.FLOAT16 else "float32"


def _flops(node: onnx_ir.Node) -> int:
    if node.op_type in CONTRIBUTED_PRODUCTS:
        count = _product(node)
    elif node.domain not in ("", "ai.onnx") and node.op_type not in COUNTED_AS_STANDARD:
        count = None
    else:
        count = node_flops(node)
    if count is None:
        raise ModelError(f"what {node.name!r} ({node.op_type}) costs cannot be told from the graph")
    return count


def _product(node: onnx_ir.Node) -> int | None:
    left, written = sizes(node.inputs[0]), elements(node.outputs[0])
    return None if not left or written is None else 2 * written * left[-1]


def _bytes(value: onnx_ir.Value) -> int:
    size = nbytes(value)
    if size is None:
        raise ModelError(f"the shape or type of {value.name!r} is not known before the model runs")
    return size
