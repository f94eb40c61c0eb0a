"""Infers shapes and types, with weights left out so that large models cost nothing."""

from __future__ import annotations

import onnx
import onnx_ir

from edgeopt.graph.constants import fold
from edgeopt.graph.contributed import infer_contributed

LARGEST_SHAPE_VALUE = 64
"""Constants of at most this many elements are passed to inference, which reads shapes, axes and pads."""


def infer(model: onnx_ir.Model, *, strict: bool) -> None:
    """Write all shapes and types that follow from the inputs into the values of the main graph.

    Raises:
        onnx.shape_inference.InferenceError: `strict`, and shapes contradict each other.
    """
    known = -1
    while known != (known := _infer_once(model, strict=strict)):
        infer_contributed(model)


def infer_through_values(model: onnx_ir.Model) -> None:
    """Infer shapes which pass through computed values, by folding constants in a scratch copy."""
    open_values = {v.name: v for v in _computed(model) if not _is_static(v)}
    if not open_values:
        return
    scratch = model.clone()
    scratch.graph.outputs.clear()  # a shape that is an output, too, is no less constant
    while fold(scratch, 8 * LARGEST_SHAPE_VALUE) and open_values:
        infer(scratch, strict=False)
        for value in _computed(scratch):
            if value.name in open_values and _is_static(value):
                settled = open_values.pop(value.name)
                settled.shape, settled.type = value.shape, value.type
        for name, initializer in scratch.graph.initializers.items():
            if name in open_values:
                settled = open_values.pop(name)
                settled.shape, settled.type = initializer.shape, initializer.type


def _infer_once(model: onnx_ir.Model, *, strict: bool) -> int:
    proto = without_weights(model)
    try:
        inferred = onnx.shape_inference.infer_shapes(proto, strict_mode=strict, data_prop=True)
    except onnx.shape_inference.InferenceError:
        if strict:
            raise
        return 0
    types = {
        info.name: info.type
        for info in (*inferred.graph.value_info, *inferred.graph.output)
        if info.type.HasField("tensor_type")
    }
    known = 0
    for value in _computed(model):
        if value.name in types:
            _merge(value, types[value.name])
        known += _is_static(value)
    return known


def _merge(value: onnx_ir.Value, found: onnx.TypeProto) -> None:
    shape = onnx_ir.serde.deserialize_type_proto_for_shape(found)
    if shape is not None and not _is_static(value):
        value.shape = shape
    if value.type is None and found.tensor_type.elem_type:
        value.type = onnx_ir.TensorType(onnx_ir.DataType(found.tensor_type.elem_type))


def without_weights(model: onnx_ir.Model) -> onnx.ModelProto:
    """The model as protobuf, with every initializer too large to be a shape turned into an input."""
    graph = model.graph
    heavy = [
        value
        for value in graph.initializers.values()
        if value.const_value is None or value.const_value.size > LARGEST_SHAPE_VALUE
    ]
    for value in heavy:
        if value.const_value is not None:
            value.shape, value.dtype = onnx_ir.Shape(value.const_value.shape.numpy()), value.const_value.dtype
    given = len(graph.inputs)
    for value in heavy:
        graph.initializers.pop(str(value.name))
        graph.inputs.append(value)
    try:
        return onnx_ir.to_proto(model)
    finally:
        del graph.inputs[given:]
        for value in heavy:
            graph.initializers[str(value.name)] = value


def _computed(model: onnx_ir.Model) -> list[onnx_ir.Value]:
    return [output for node in model.graph for output in node.outputs if output.name]


def _is_static(value: onnx_ir.Value) -> bool:
    return value.shape is not None and value.shape.is_static() and value.type is not None
