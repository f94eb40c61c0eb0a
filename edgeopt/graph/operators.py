"""Which operators a model uses: known ones only, and not more than the limits allow."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from pathlib import Path

import onnx
import onnx_ir

from edgeopt.core.errors import ModelError
from edgeopt.graph.limits import Limits

KNOWN_DOMAINS = frozenset({"", "ai.onnx", "ai.onnx.ml", "com.microsoft"})
"""Operator domains that onnxruntime's plain CPU build runs."""

_QUANTIZED = frozenset({
    "QuantizeLinear", "DequantizeLinear", "DynamicQuantizeLinear", "ConvInteger", "MatMulInteger",
    "DynamicQuantizeMatMul", "DynamicQuantizeLSTM", "MatMulIntegerToFloat", "MatMulNBits", "QAttention",
    "GatherBlockQuantized", "QGemm", "QMoE",
})  # fmt: skip

_Function = tuple[str, str]


def check_operators(proto: onnx.ModelProto, path: Path, limits: Limits) -> None:
    """Check operator sets, domains and the number of nodes that remain when functions are inlined.

    Raises:
        ModelError: An opset is newer than onnx knows, a domain is unknown, functions call each other in a
            circle, there are too many nodes, or a constant is sparse.
    """
    newest = onnx.defs.onnx_opset_version()
    for imported in proto.opset_import:
        if imported.domain in ("", "ai.onnx") and imported.version > newest:
            raise ModelError(
                f"{path} uses opset {imported.version}; onnx {onnx.__version__} knows up to {newest}",
                hint=f"export it with opset {newest} or lower, or update onnx",
            )
    functions = {(function.domain, function.name): function for function in proto.functions}
    for body in (proto.graph.node, *(function.node for function in proto.functions)):
        for node in _all(body):
            if node.domain not in KNOWN_DOMAINS and (node.domain, node.op_type) not in functions:
                raise ModelError(
                    f"{path} uses operator {node.op_type!r} of the unknown domain {node.domain!r}",
                    hint="edgeopt runs the operators of onnx and of onnxruntime's CPU build "
                    "(com.microsoft); export without custom operators",
                )
    if (sparse := next(_sparse(proto), None)) is not None:
        raise ModelError(
            f"{path} holds the sparse constant {sparse!r}, which edgeopt does not read",
            hint="export it as a plain tensor",
        )
    counted: dict[_Function, int] = {}
    count = _inlined(proto.graph.node, functions, counted, (), path)
    if count > limits.max_nodes:
        raise ModelError(f"{path} has {count} nodes, more than {limits.max_nodes}")


def _sparse(proto: onnx.ModelProto) -> Iterator[str]:
    """Names of sparse constants, wherever they are."""
    graphs = [proto.graph]
    for body in (proto.graph.node, *(function.node for function in proto.functions)):
        for node in _all(body):
            for attribute in node.attribute:
                graphs += [*([attribute.g] if attribute.HasField("g") else []), *attribute.graphs]
                if attribute.HasField("sparse_tensor") or attribute.sparse_tensors:
                    yield node.name or node.op_type
    for graph in graphs:
        yield from (constant.values.name for constant in graph.sparse_initializer)


def is_quantized(model: onnx_ir.Model) -> bool:
    """Whether any node computes with, from or to quantized numbers."""
    return any(
        node.op_type in _QUANTIZED or node.op_type.startswith("QLinear") for node in model.graph.all_nodes()
    )


def _all(nodes: Iterable[onnx.NodeProto]) -> Iterator[onnx.NodeProto]:
    """The nodes and those of their subgraphs, however deep."""
    waiting = list(nodes)
    while waiting:
        node = waiting.pop()
        yield node
        for attribute in node.attribute:
            for graph in (*([attribute.g] if attribute.HasField("g") else []), *attribute.graphs):
                waiting += graph.node


def _inlined(
    nodes: Iterable[onnx.NodeProto],
    functions: dict[_Function, onnx.FunctionProto],
    counted: dict[_Function, int],
    callers: tuple[_Function, ...],
    path: Path,
) -> int:
    """How many nodes there would be with every call replaced by its function: it can double at each level."""
    total = 0
    for node in _all(nodes):
        called = (node.domain, node.op_type)
        if called not in functions:
            total += 1
            continue
        if called in callers:
            raise ModelError(f"{path}: function {node.op_type!r} calls itself")
        if called not in counted:
            body = functions[called].node
            counted[called] = _inlined(body, functions, counted, (*callers, called), path)
        total += counted[called]
    return total
