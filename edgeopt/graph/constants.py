"""Constants of a graph: which values are constant, and the evaluation of nodes that read nothing else."""

from __future__ import annotations

import warnings
from collections.abc import Sequence

import numpy as np
import onnx
import onnx_ir
from numpy.typing import NDArray

MAX_FOLDED_ELEMENTS = 1 << 16
"""A folded result may have this many elements, or as many as the constants that it replaces."""

_NOT_FOLDED = frozenset({
    # Random: every run differs.
    "RandomNormal", "RandomNormalLike", "RandomUniform", "RandomUniformLike", "Multinomial", "Bernoulli",
    # Stored small on purpose: folding would undo a quantized weight.
    "QuantizeLinear", "DequantizeLinear", "DynamicQuantizeLinear",
    # Training mode draws random numbers; the others yield no tensor.
    "Dropout", "Optional", "SequenceConstruct", "SequenceEmpty", "SplitToSequence",
})  # fmt: skip


def array_of(value: onnx_ir.Value | None) -> NDArray[np.generic] | None:
    """The constant behind a value; None if it is computed or absent."""
    if value is None or value.const_value is None or not value.is_initializer():
        return None
    return np.asarray(value.const_value.numpy())


def scalar_of(value: onnx_ir.Value | None) -> float | None:
    """The number in a constant of one element; None for anything else."""
    if value is None or value.const_value is None or value.const_value.size != 1:
        return None
    array = array_of(value)
    return None if array is None or array.dtype.kind not in "fiub" else float(array.reshape(-1)[0])


def add_initializer(
    graph: onnx_ir.Graph, name: str, array: NDArray[np.generic], *, taken: set[str] | None = None
) -> onnx_ir.Value:
    """Add a constant to the graph under `name`, or that with a number behind it where it is taken."""
    unique = free_name(graph, name) if taken is None else free_name(graph, name, taken)
    tensor = onnx_ir.tensor(array, name=unique)
    value = onnx_ir.Value(
        name=unique,
        shape=onnx_ir.Shape(tensor.shape),
        type=onnx_ir.TensorType(tensor.dtype),
        const_value=tensor,
    )
    graph.register_initializer(value)
    return value


def free_name(graph: onnx_ir.Graph, name: str, taken: set[str] | None = None) -> str:
    """`name`, or `name_2`, `name_3`, ... if a value of the graph has that name already."""
    if taken is None:
        taken = {str(v.name) for v in (*graph.inputs, *graph.initializers.values())}
        taken |= {str(output.name) for node in graph.all_nodes() for output in node.outputs}
    unique, number = name, 1
    while unique in taken:
        number += 1
        unique = f"{name}_{number}"
    return unique


def lift(model: onnx_ir.Model) -> None:
    """Turn Constant nodes of the main graph into initializers of the same name, in place."""
    for node in list(model.graph):
        if node.op_type != "Constant" or node.domain or node.outputs[0].is_graph_output():
            continue
        if "sparse_value" not in node.attributes and all(not a.is_ref() for a in node.attributes.values()):
            tensor = onnx_ir.convenience.get_const_tensor(node.outputs[0])
            if tensor is not None:
                replace_by_constant(node.outputs[0], tensor)
                model.graph.remove(node, safe=True)


def replace_by_constant(value: onnx_ir.Value, tensor: onnx_ir.TensorProtocol) -> None:
    """Let an initializer take the place and the name of a computed value; its node stays for the caller."""
    producer = value.producer()
    if producer is None or producer.graph is None:
        raise ValueError(f"{value.name} is not computed")
    name = str(value.name)
    value.name = None
    constant = onnx_ir.Value(
        name=name,
        shape=onnx_ir.Shape(tensor.shape),
        type=onnx_ir.TensorType(tensor.dtype),
        const_value=tensor,
    )
    producer.graph.register_initializer(constant)
    value.replace_all_uses_with(constant)


def foldable(node: onnx_ir.Node) -> str | None:
    """Why a node cannot be computed ahead of time; None if it can."""
    if node.domain not in ("", "ai.onnx"):
        return f"{node.domain} operators are left to the runtime"
    if node.op_type in _NOT_FOLDED:
        return f"{node.op_type} is not folded: it is random, or keeps weights small"
    if any(
        a.type in (onnx_ir.AttributeType.GRAPH, onnx_ir.AttributeType.GRAPHS)
        for a in node.attributes.values()
    ):
        return f"{node.op_type} holds a graph"
    if any(output.is_graph_output() for output in node.outputs):
        return "its result is an output of the model"
    for output in node.outputs:
        if output.shape is not None and output.shape.is_static():
            if np.prod(output.shape.numpy(), dtype=np.float64) > _largest_result(node):
                return f"its result has {np.prod(output.shape.numpy())} elements: too many to store"
    if node.op_type in ("Shape", "Size"):
        source = node.inputs[0]
        settled = source is not None and source.shape is not None and source.shape.is_static()
        return None if settled else "the shape that it asks for is not fixed"
    for value in node.inputs:
        if value is not None and array_of(value) is None:
            return f"{value.name} is computed at run time"
    return None


def evaluate(node: onnx_ir.Node) -> list[NDArray[np.generic]] | None:
    """Compute a `foldable` node; None where the reference implementation cannot, or the result is too large."""
    if node.op_type == "Shape" and node.inputs[0] is not None and node.inputs[0].shape is not None:
        start, end = (node.attributes.get_int(name, None) for name in ("start", "end"))
        return [np.asarray(node.inputs[0].shape.numpy()[slice(start, end)], np.int64)]
    if node.op_type == "Size" and node.inputs[0] is not None and node.inputs[0].shape is not None:
        return [np.asarray(np.prod(node.inputs[0].shape.numpy(), dtype=np.int64))]
    feeds = {str(value.name): array_of(value) for value in node.inputs if value is not None}
    try:
        with warnings.catch_warnings(), np.errstate(all="ignore"):
            warnings.simplefilter("ignore")
            results = _reference(node, feeds)
    except Exception:  # the reference implementation raises whatever numpy raises
        return None
    if any(not isinstance(result, np.ndarray | np.generic) for result in results):
        return None
    arrays = [np.asarray(result) for result in results]
    return None if any(array.size > _largest_result(node) for array in arrays) else arrays


def fold(model: onnx_ir.Model) -> int:
    """Fold everything that `foldable` allows, in place; the number of nodes folded."""
    folded = 0
    for node in list(model.graph):
        if foldable(node) is None and (arrays := evaluate(node)) is not None:
            replace_node(node, arrays)
            folded += 1
    return folded


def replace_node(node: onnx_ir.Node, arrays: Sequence[NDArray[np.generic]]) -> None:
    """Replace a node by its results."""
    for output, array in zip(node.outputs, arrays, strict=True):
        if output.name and output.uses():
            replace_by_constant(output, onnx_ir.tensor(np.ascontiguousarray(array).reshape(array.shape)))
    assert node.graph is not None  # noqa: S101 - a node of a graph that is being walked
    node.graph.remove(node, safe=True)


def _largest_result(node: onnx_ir.Node) -> int:
    read = sum(v.const_value.size for v in node.inputs if v is not None and v.const_value is not None)
    return max(MAX_FOLDED_ELEMENTS, read)


def _reference(node: onnx_ir.Node, feeds: dict[str, NDArray[np.generic] | None]) -> list[object]:
    assert node.graph is not None  # noqa: S101 - a node of a graph that is being walked
    opset = node.graph.opset_imports.get("", 1)
    proto = onnx_ir.to_proto(node)
    graph = onnx.helper.make_graph(
        [proto],
        "node",
        [onnx.helper.make_tensor_value_info(name, onnx.TensorProto.UNDEFINED, None) for name in feeds],
        [
            onnx.helper.make_tensor_value_info(name, onnx.TensorProto.UNDEFINED, None)
            for name in proto.output
            if name
        ],
    )
    model = onnx.helper.make_model(graph, opset_imports=[onnx.helper.make_opsetid("", opset)])
    from onnx.reference import ReferenceEvaluator

    return list(ReferenceEvaluator(model).run(None, feeds))
