"""An ONNX graph as a function in torch that can be differentiated."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import onnx_ir as ir
import torch
from numpy.typing import NDArray
from torch import Tensor

from edgeopt.graph.training import layers, operators, recurrences, resizing
from edgeopt.graph.training.operators import Call, Operator, Untrainable

TABLE: Mapping[str, Operator] = {**operators.TABLE, **layers.TABLE, **recurrences.TABLE, **resizing.TABLE}

WEIGHTS: Mapping[str, tuple[int, ...]] = {
    "Conv": (1, 2), "ConvTranspose": (1, 2), "MatMul": (0, 1), "Gemm": (0, 1, 2), "Einsum": (0, 1),
    "Gather": (0,), "LSTM": (1, 2, 3), "GRU": (1, 2, 3), "RNN": (1, 2, 3), "BatchNormalization": (1, 2),
    "LayerNormalization": (1, 2), "RMSNormalization": (1,), "InstanceNormalization": (1, 2), "PRelu": (1,),
}  # fmt: skip
"""Inputs of an operator that are its weights, if they are constant."""

VECTORS = frozenset({"Add", "Sub", "Mul"})
"""Operators of which a constant vector is a bias or a scale, and so trained; a mask has two long axes."""

LARGEST = 1e4
"""Constants with larger values stand for infinity."""

TOLERANCE = 1e-3
"""Of outputs, times their largest value: what torch's and onnxruntime's float32 may differ by."""


class Program:
    """A float32 graph of static shapes.

    Attributes:
        weights: What can be trained, by name of the initializer.
        outputs: Names of the graph's outputs.

    Args:
        graph: Of a frozen model.
        opset: Its default operator set.

    Raises:
        Untrainable: It has an operator or a type that is not known here.
    """

    def __init__(self, graph: ir.Graph, opset: int) -> None:
        self.outputs = [str(value.name) for value in graph.outputs]
        self._steps: list[tuple[Operator, Call, list[str | None], list[str]]] = []
        trained = _trained(graph)
        self.weights: dict[str, Tensor] = {}
        self._constants: dict[str, Tensor] = {}
        for name, value in graph.initializers.items():
            array = value.const_value
            if array is None:
                raise Untrainable(f"the constant {name} has no value")
            kept = self.weights if name in trained else self._constants
            kept[name] = _tensor(array.numpy(), name)
        for node in graph:
            self._add(node, opset)

    def _add(self, node: ir.Node, opset: int) -> None:
        outputs = [str(value.name) for value in node.outputs]
        if node.domain in ("", "ai.onnx") and node.op_type == "Constant":
            self._constants[outputs[0]] = _tensor(_constant(node), outputs[0])
            return
        if node.domain not in ("", "ai.onnx") or node.op_type not in TABLE:
            domain = f"{node.domain}." if node.domain not in ("", "ai.onnx") else ""
            raise Untrainable(f"operator {domain}{node.op_type} cannot be trained")
        call = Call(node.op_type, _attributes(node), opset, sum(bool(value.uses()) for value in node.outputs))
        if node.op_type == "Split":
            call = Call(node.op_type, call.attributes, opset, len(outputs))
        inputs = [None if value is None else str(value.name) for value in node.inputs]
        operator = TABLE[node.op_type]
        if all(name is None or name in self._constants for name in inputs):
            results = operator(call, [None if name is None else self._constants[name] for name in inputs])
            self._constants |= _named(outputs, results)
            return
        self._steps.append((operator, call, inputs, outputs))

    def __call__(
        self, weights: Mapping[str, Tensor], feeds: Mapping[str, Tensor], wanted: Sequence[str]
    ) -> list[Tensor]:
        """The wanted tensors of one inference."""
        values: dict[str, Tensor] = {**self._constants, **weights, **feeds}
        for operator, call, inputs, outputs in self._steps:
            found = operator(call, [None if name is None else values[name] for name in inputs])
            values |= _named(outputs, found)
        return [values[name] for name in wanted]

    def batch(
        self, weights: Mapping[str, Tensor], feeds: Mapping[str, Tensor], wanted: Sequence[str]
    ) -> list[Tensor]:
        """The wanted tensors of many inferences, which are counted by a new first axis.

        Raises:
            Untrainable: torch cannot compute it.
        """
        try:
            run: list[Tensor] = torch.func.vmap(lambda one: self(weights, one, wanted))(dict(feeds))
        except (RuntimeError, ValueError, IndexError, TypeError) as error:
            reason = str(error).strip().partition("\n")[0]
            raise Untrainable(f"torch cannot compute it: {reason}") from error
        return run

    def check(
        self, feeds: Mapping[str, NDArray[np.generic]], expected: Mapping[str, NDArray[np.generic]]
    ) -> None:
        """Compare with what onnxruntime computes.

        Args:
            feeds: Inputs, a new first axis counts inferences.
            expected: Outputs, likewise.

        Raises:
            Untrainable: They differ by more than `TOLERANCE`.
        """
        names = list(expected)
        given = {name: torch.from_numpy(np.array(array)) for name, array in feeds.items()}
        with torch.no_grad():
            found = self.batch(self.weights, given, names)
        for name, ours in zip(names, found, strict=True):
            theirs = np.asarray(expected[name])
            mine = ours.numpy()
            if mine.shape != theirs.shape:
                raise Untrainable(f"torch computes {name} with shape {mine.shape}, not {theirs.shape}")
            if not theirs.size or theirs.dtype.kind != "f":
                continue
            scale = max(1e-6, float(np.abs(theirs[np.isfinite(theirs)]).max(initial=0.0)))
            if not np.allclose(mine, theirs, rtol=0.0, atol=TOLERANCE * scale, equal_nan=True):
                off = float(np.nanmax(np.abs(mine - theirs)))
                raise Untrainable(f"torch and onnxruntime differ in {name} by {off:.2g}, of {scale:.2g}")


def _trained(graph: ir.Graph) -> set[str]:
    """Names of the constants that are trained."""
    found: set[str] = set()
    for node in graph:
        for index, value in enumerate(node.inputs):
            if value is None or not value.is_initializer() or value.const_value is None:
                continue
            if value.dtype != ir.DataType.FLOAT or value.is_graph_input() or value.const_value.size < 2:
                continue
            is_vector = sum(size > 1 for size in value.const_value.shape.numpy()) == 1
            if index not in WEIGHTS.get(node.op_type, ()) and not (node.op_type in VECTORS and is_vector):
                continue
            largest = np.abs(value.const_value.numpy()).max()
            if np.isfinite(largest) and largest <= LARGEST:
                found.add(str(value.name))
    return found


def _tensor(array: NDArray[np.generic], name: str) -> Tensor:
    if array.dtype.kind not in "fiub" or array.dtype.itemsize > 8:
        raise Untrainable(f"the constant {name} is of {array.dtype}")
    if array.dtype == np.float16:
        raise Untrainable("its weights are float16")
    return torch.from_numpy(np.array(array))  # a copy: torch wants memory that may be written


def _constant(node: ir.Node) -> NDArray[np.generic]:
    for name, value in _attributes(node).items():
        if name == "value":
            return np.asarray(value)
        if name.startswith("value_") and not name.startswith("value_string"):
            return np.asarray(value, np.float32 if name.startswith("value_float") else np.int64)
    raise Untrainable("operator Constant cannot be trained: it is no array of numbers")


def _attributes(node: ir.Node) -> dict[str, Any]:
    """Attributes as plain values: texts, numbers, lists, arrays."""
    plain: dict[str, Any] = {}
    for name, attribute in node.attributes.items():
        if attribute.type in (ir.AttributeType.GRAPH, ir.AttributeType.GRAPHS):
            raise Untrainable(f"operator {node.op_type} cannot be trained: it holds a graph")
        value = attribute.value
        if attribute.type == ir.AttributeType.TENSOR:
            value = value.numpy()
        elif isinstance(value, tuple):
            value = list(value)
        plain[name] = value
    return plain


def _named(names: Sequence[str], results: Tensor | tuple[Tensor, ...]) -> dict[str, Tensor]:
    found = (results,) if isinstance(results, Tensor) else results
    return {name: one for name, one in zip(names, found, strict=False) if name and name != "None"}
