"""Small models and data sets for whole runs."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper

Array = NDArray[np.generic]
FLOAT = TensorProto.FLOAT


def weight(name: str, *shape: int, seed: int = 0) -> onnx.TensorProto:
    values = np.random.default_rng(seed + sum(map(ord, name))).standard_normal(shape)
    return numpy_helper.from_array((values / np.sqrt(shape[0])).astype(np.float32), name)


def value(name: str, shape: list[int | str], kind: int = FLOAT) -> onnx.ValueInfoProto:
    return helper.make_tensor_value_info(name, kind, shape)


def save(
    path: Path,
    nodes: list[onnx.NodeProto],
    inputs: list[onnx.ValueInfoProto],
    outputs: list[onnx.ValueInfoProto],
    weights: list[onnx.TensorProto],
    *,
    opset: int = 17,
    domains: tuple[str, ...] = (),
) -> Path:
    """Write a checked model."""
    graph = helper.make_graph(nodes, path.stem, inputs, outputs, weights)
    imports = [helper.make_opsetid("", opset), *(helper.make_opsetid(domain, 1) for domain in domains)]
    proto = helper.make_model(graph, ir_version=8, opset_imports=imports)
    onnx.checker.check_model(proto)
    path.write_bytes(proto.SerializeToString())
    return path


def classifier(
    path: Path, *, batch: int | str = 1, width: int = 96, classes: int = 4, opset: int = 17, seed: int = 0
) -> Path:
    """Two dense layers: x (N, 32) to y (N, classes)."""
    node = helper.make_node
    nodes = [
        node("MatMul", ["x", "w1"], ["a"]), node("Add", ["a", "b1"], ["b"]), node("Relu", ["b"], ["c"]),
        node("MatMul", ["c", "w2"], ["d"]), node("Add", ["d", "b2"], ["y"]),
    ]  # fmt: skip
    weights = [
        weight("w1", 32, width, seed=seed), weight("b1", width, seed=seed),
        weight("w2", width, classes, seed=seed), weight("b2", classes, seed=seed),
    ]  # fmt: skip
    return save(path, nodes, [value("x", [batch, 32])], [value("y", [batch, classes])], weights, opset=opset)


def samples(path: Path, n: int = 300, seed: int = 1, **more: Array) -> Path:
    """Inputs for `classifier`, at the path with the suffix `.npz`."""
    x = np.random.default_rng(seed).standard_normal((n, 32)).astype(np.float32)
    np.savez(path, x=x, **more)
    return path


def interface(path: Path) -> list[tuple[str, int, list[int]]]:
    """Names, types and shapes of a model's inputs and outputs; open sizes are 0."""
    graph = onnx.load(path).graph
    return [
        (v.name, v.type.tensor_type.elem_type, [d.dim_value for d in v.type.tensor_type.shape.dim])
        for v in (*graph.input, *graph.output)
    ]
