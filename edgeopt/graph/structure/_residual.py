"""The sum behind a layer: what was lost on its other side, the layer can make up for."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import onnx_ir as ir

from edgeopt.graph.convolution import scale_and_shift
from edgeopt.graph.matching import only_reader
from edgeopt.graph.structure._channels import is_constant, shape_of
from edgeopt.graph.structure._weights import Doubles


@dataclass(frozen=True, slots=True)
class Sum:
    """A residual sum that a layer's output goes into, past its bias or BatchNormalization.

    Attributes:
        other: What is added to it.
        scale: (m,), of the layer's outputs on their way there.
    """

    other: ir.Value
    scale: Doubles


def sum_behind(node: ir.Node) -> Sum | None:
    """The residual sum behind a Conv, Gemm or MatMul; None where its output goes elsewhere, too."""
    shape = shape_of(node.outputs[0])
    if not shape:
        return None
    scale = np.ones(shape[1 if node.op_type == "Conv" else -1])
    value, reader = node.outputs[0], only_reader(node)
    if reader is not None and reader.op_type == "BatchNormalization" and not reader.domain:
        read = scale_and_shift(reader)
        if isinstance(read, str) or not (read[0] != 0).all():
            return None
        scale, value, reader = read[0], reader.outputs[0], only_reader(reader)
    elif reader is not None and reader.op_type == "Add" and any(is_constant(v) for v in reader.inputs):
        value, reader = reader.outputs[0], only_reader(reader)
    if reader is None or reader.op_type != "Add" or reader.domain:
        return None
    other = reader.inputs[1] if reader.inputs[0] is value else reader.inputs[0]
    if other is None or other is value or other.is_initializer() or shape_of(other) != shape:
        return None
    return Sum(other, scale)
