"""Constants of a graph: which values are constant, and the evaluation of nodes that read nothing else."""

from __future__ import annotations

import math
import warnings
from collections.abc import Sequence

import numpy as np
import onnx
import onnx_ir
from numpy.typing import NDArray

from edgeopt.graph.flops import nbytes, sizes
from edgeopt.graph.reading import WITH_BODY, has_subgraph, subgraphs

MAX_FOLDED_BYTES = 1 << 18
"""A folded result may have this many bytes, or as many as the constants that it replaces."""

_NOT_FOLDED = frozenset({
    # Random: every run differs.
    "RandomNormal", "RandomNormalLike", "RandomUniform", "RandomUniformLike", "Multinomial", "Bernoulli",
    # Stored small on purpose: folding would undo a quantized weight.
    "QuantizeLinear", "DequantizeLinear", "DynamicQuantizeLinear",
    # Training mode draws random numbers; the others yield no tensor.
    "Dropout", "Optional", "SequenceConstruct", "SequenceEmpty", "SplitToSequence",
})  # fmt: skip


_EXPANDING = frozenset({
    "ConstantOfShape", "Expand", "Tile", "Range", "Pad", "Resize", "Upsample", "OneHot", "EyeLike", "Einsum",
    "MatMul", "Gemm", "Conv", "ConvTranspose", "Col2Im",
})  # fmt: skip
"""Operators whose result can be far larger than what they read: its size must be known beforehand."""


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


def constant_of(value: onnx_ir.Value | None) -> NDArray[np.generic]:
    """The constant behind a value that is known to be one.

    Raises:
        ValueError: It is not.
    """
    array = array_of(value)
    if array is None:
        raise ValueError(f"{value.name if value is not None else 'an absent input'} is not constant")
    return array


def add_initializer(graph: onnx_ir.Graph, name: str, array: NDArray[np.generic]) -> onnx_ir.Value:
    """Add a constant to the graph under `name`, or that with a number behind it where it is taken."""
    unique = free_name(graph, name)
    tensor = onnx_ir.tensor(array, name=unique)
    value = onnx_ir.Value(
        name=unique,
        shape=onnx_ir.Shape(tensor.shape.numpy()),
        type=onnx_ir.TensorType(tensor.dtype),
        const_value=tensor,
    )
    graph.register_initializer(value)
    return value


def same_initializer(graph: onnx_ir.Graph, name: str, array: NDArray[np.generic]) -> onnx_ir.Value:
    """The constant of that name where it holds just these bits, else a new one: for what nodes share."""
    known = graph.initializers.get(name)
    same = array_of(known)
    if known is None or same is None or same.dtype != array.dtype or not np.array_equal(same, array):
        return add_initializer(graph, name, array)
    return known


def free_name(graph: onnx_ir.Graph, name: str) -> str:
    """`name`, or `name_2`, `name_3`, ... if a value of the graph or its subgraphs is called so already."""
    unique, number = name, 1
    while _is_taken(graph, unique):
        number += 1
        unique = f"{name}_{number}"
    return unique


def _is_taken(graph: onnx_ir.Graph, name: str) -> bool:
    if name in graph.initializers or any(value.name == name for value in graph.inputs):
        return True
    for node in graph:
        for output in node.outputs:
            if output.name == name:
                return True
        has_body = node.domain or node.op_type in WITH_BODY
        if has_body and any(_is_taken(body, name) for body in subgraphs(node)):
            return True
    return False


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
        shape=onnx_ir.Shape(tensor.shape.numpy()),
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
    if has_subgraph(node):
        return f"{node.op_type} holds a graph"
    if any(output.is_graph_output() for output in node.outputs):
        return "its result is an output of the model"
    for output in node.outputs:
        size = nbytes(output)
        if size is None and node.op_type in _EXPANDING:
            return "the size of its result is not known"
        if size is not None and size > _largest_result(node):
            return f"its result has {size} bytes: too many to store"
    if node.op_type in ("Shape", "Size"):
        return None if sizes(node.inputs[0]) is not None else "the shape that it asks for is not fixed"
    for value in node.inputs:
        if value is not None and (value.const_value is None or not value.is_initializer()):
            return f"{value.name} is computed at run time"
    return None


def evaluate(node: onnx_ir.Node) -> list[NDArray[np.generic]] | None:
    """Compute a `foldable` node; None where onnx's reference cannot, or the result is too large."""
    if node.op_type in ("Shape", "Size"):
        shape = sizes(node.inputs[0]) or ()
        start, end = (node.attributes.get_int(name, None) for name in ("start", "end"))
        return [np.asarray(math.prod(shape) if node.op_type == "Size" else shape[start:end], np.int64)]
    feeds = {str(value.name): array_of(value) for value in node.inputs if value is not None}
    try:
        with warnings.catch_warnings(), np.errstate(all="ignore"):
            warnings.simplefilter("ignore")
            results = _reference(node, feeds)
    except Exception:  # the reference implementation raises whatever numpy raises
        return None
    named = [output for output in node.outputs if output.name]
    if not all(_fits(result, output, node) for result, output in zip(results, named, strict=True)):
        return None
    return [np.asarray(result) for result in results]


def _fits(result: object, output: onnx_ir.Value, node: onnx_ir.Node) -> bool:
    """Whether a result is what shape inference expects: a tensor of that type and shape, not too large."""
    if not isinstance(result, np.ndarray | np.generic) or result.nbytes > _largest_result(node):
        return False
    if output.dtype is None or output.dtype == onnx_ir.DataType.STRING:
        return False
    return result.dtype == output.dtype.numpy() and sizes(output) in (None, result.shape)


def fold(model: onnx_ir.Model, largest: int) -> int:
    """Fold, in place, what `foldable` allows and reads at most `largest` bytes; the number of nodes."""
    folded = 0
    for node in list(model.graph):
        if _read_bytes(node) > largest or foldable(node) is not None:
            continue
        if (arrays := evaluate(node)) is not None:
            replace_node(node, arrays)
            folded += 1
    return folded


def replace_node(node: onnx_ir.Node, arrays: Sequence[NDArray[np.generic]]) -> None:
    """Replace a node by its results."""
    named = [output for output in node.outputs if output.name]
    for output, array in zip(named, arrays, strict=True):
        if output.uses():
            replace_by_constant(output, onnx_ir.tensor(np.ascontiguousarray(array).reshape(array.shape)))
    assert node.graph is not None  # noqa: S101 - a node of a graph that is being walked
    node.graph.remove(node, safe=True)


def _largest_result(node: onnx_ir.Node) -> int:
    return max(MAX_FOLDED_BYTES, _read_bytes(node))


def _read_bytes(node: onnx_ir.Node) -> int:
    return sum(v.const_value.nbytes for v in node.inputs if v is not None and v.const_value is not None)


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
