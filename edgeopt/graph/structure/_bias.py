"""Where a constant can be added to what a layer writes, without another operator."""

from __future__ import annotations

import numpy as np
import onnx_ir as ir

from edgeopt.graph.constants import add_initializer, constant_of
from edgeopt.graph.editing import input_at
from edgeopt.graph.matching import only_reader
from edgeopt.graph.structure._channels import is_constant, shape_of
from edgeopt.graph.structure._groups import replace_constant
from edgeopt.graph.structure._layers import GATES
from edgeopt.graph.structure._weights import Doubles


def has_place(node: ir.Node, index: int) -> bool:
    """Whether `add` can be asked for a matrix in input `index`."""
    if node.op_type in GATES:
        return index == 1 and is_constant(input_at(node, 3))
    return node.op_type in ("Conv", "Gemm") or _beside(node) is not None


def add(graph: ir.Graph, node: ir.Node, shift: Doubles) -> None:
    """Add `shift`, one for each row of the layer's matrix, to what it computes.

    It goes into the layer's own bias, into the mean of the BatchNormalization behind it, into the constant
    that is added behind it, or becomes a new bias: whichever is there first.
    """
    if node.op_type in GATES:
        bias = constant_of(node.inputs[3])
        moved = bias.astype(np.float64)
        moved[0, : len(shift)] += shift
        replace_constant(graph, node, 3, moved.astype(bias.dtype))
        return
    own = input_at(node, 2)
    if own is not None and is_constant(own) and node.op_type in ("Conv", "Gemm"):
        bias = constant_of(own)
        replace_constant(graph, node, 2, (bias.astype(np.float64) + shift).astype(bias.dtype))
        return
    beside = _beside(node)
    if beside is None:
        weight = constant_of(node.inputs[1])
        value = add_initializer(graph, f"{node.inputs[1].name}_bias", shift.astype(weight.dtype))  # type: ignore[union-attr]
        node.resize_inputs(3)
        node.replace_input_with(2, value)
        return
    reader, index, axis = beside
    given = constant_of(reader.inputs[index])
    shape = [1] * given.ndim
    shape[axis] = -1
    sign = -1 if reader.op_type == "BatchNormalization" else 1
    moved = given.astype(np.float64) + sign * shift.reshape(shape)
    replace_constant(graph, reader, index, moved.astype(given.dtype))


def _beside(node: ir.Node) -> tuple[ir.Node, int, int] | None:
    """The operator behind a layer whose constant can take a shift: its input, and the axis of channels."""
    reader = only_reader(node)
    if reader is None or reader.domain:
        return None
    if reader.op_type == "BatchNormalization" and is_constant(reader.inputs[3]):
        return reader, 3, 0
    if reader.op_type != "Add":
        return None
    index = 1 if reader.inputs[0] is node.outputs[0] else 0
    given, written = reader.inputs[index], shape_of(node.outputs[0])
    channels = len(written) - 1 if node.op_type in ("MatMul", "Gemm") else 1
    if given is None or not is_constant(given):
        return None
    axis = channels - len(written) + len(shape_of(given))
    fits = axis >= 0 and np.prod(shape_of(given)) == shape_of(given)[axis] == written[channels]
    return (reader, index, axis) if fits else None
