"""Reads products with a constant matrix: MatMul and Gemm, with their biases."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import onnx_ir
from numpy.typing import NDArray

from edgeopt.graph.constants import array_of
from edgeopt.graph.expressions import constant, producer
from edgeopt.graph.flops import sizes
from edgeopt.graph.matching import is_shared, made

Doubles = NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class Linear:
    """`y = x W + b`.

    Attributes:
        node: MatMul or Gemm.
        x: Of shape (..., K).
        weight: (K, N), in float64, with Gemm's alpha in it.
        bias: Broadcasts to (..., N), with Gemm's beta in it; None for 0.
        dtype: What both are stored in.
    """

    node: onnx_ir.Node
    x: onnx_ir.Value
    weight: Doubles
    bias: Doubles | None
    dtype: np.dtype[np.generic]

    @classmethod
    def of(cls, value: onnx_ir.Value | None) -> Linear | None:
        """The product that computes a value; None where its weights are computed, or it is none."""
        node = producer(value, "MatMul", "Gemm")
        x = node.inputs[0] if node is not None else None
        if node is None or x is None or array_of(x) is not None or sizes(x) is None:
            return None
        weight = array_of(node.inputs[1])
        if weight is None or weight.ndim != 2 or weight.dtype.kind != "f":
            return None
        doubles, bias = weight.astype(np.float64), None
        if node.op_type == "Gemm":
            attributes = node.attributes
            given = node.inputs[2] if len(node.inputs) > 2 else None
            array = array_of(given)
            if attributes.get_int("transA", 0) or (given is not None and array is None):
                return None
            doubles = (doubles.T if attributes.get_int("transB", 0) else doubles) * _number(node, "alpha")
            bias = None if array is None else array.astype(np.float64) * _number(node, "beta")
        return cls(node, x, doubles, bias, weight.dtype)

    def remade(
        self, graph: onnx_ir.Graph, name: str, x: onnx_ir.Value, weight: Doubles, bias: Doubles | None
    ) -> list[onnx_ir.Node] | None:
        """`x weight + bias` in the operator that this is; None where a number is not finite in its type."""
        stored = [self.stored(array) for array in (weight, bias) if array is not None]
        arrays = [array for array in stored if array is not None]
        if len(arrays) < len(stored):
            return None
        constants = [
            constant(graph, f"{name}_{role}", array)
            for role, array in zip(("weight", "bias"), arrays, strict=False)
        ]
        shape = (*(sizes(x) or ())[:-1], weight.shape[1])
        if self.node.op_type == "Gemm":
            return [made("Gemm", [x, *constants], shape=shape, dtype=x.dtype)]
        product = made("MatMul", [x, constants[0]], shape=shape, dtype=x.dtype)
        if bias is None:
            return [product]
        return [product, made("Add", [product.outputs[0], constants[1]], shape=shape, dtype=x.dtype)]

    def stored(self, array: Doubles) -> NDArray[np.generic] | None:
        """`array` in the stored type; None where it is not finite there."""
        with np.errstate(all="ignore"):
            stored: NDArray[np.generic] = array.astype(self.dtype)
        return stored if bool(np.isfinite(stored).all()) else None


def _number(node: onnx_ir.Node, name: str) -> float:
    number = node.attributes.get_float(name, 1.0)
    return 1.0 if number is None else number


def added_vector(node: onnx_ir.Node) -> tuple[onnx_ir.Value, Doubles] | None:
    """What alone a constant vector is added to, and the vector; None for any other Add."""
    for x, given in ((node.inputs[0], node.inputs[1]), (node.inputs[1], node.inputs[0])):
        array = array_of(given)
        if array is None or x is None or is_shared(x) or array.ndim > 1 or array.dtype.kind != "f":
            continue
        if sizes(x) is not None and sizes(x) == sizes(node.outputs[0]):
            return x, array.astype(np.float64)
    return None
