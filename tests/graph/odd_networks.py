"""Two small networks as each operator set writes them, from 7 on."""

from __future__ import annotations

import numpy as np
import onnx
from onnx import helper, numpy_helper


def convolutions(opset: int) -> onnx.ModelProto:
    """Conv, BatchNormalization, Clip, Pad, Dropout, AveragePool, Unsqueeze/Squeeze, Gemm and Softmax."""
    net = Net(opset)
    net.node("Conv", "x", net.weight(4, 3, 3, 3), net.weight(4), pads=[1, 1, 1, 1])
    net.node("BatchNormalization", net.last, *(net.weight(4, positive=True) for _ in range(4)))
    if opset < 11:
        net.node("Clip", net.last, min=0.0, max=6.0)
        net.node("Pad", net.last, pads=[0, 0, 1, 0, 0, 0, 0, 1])
    else:
        net.node("Clip", net.last, net.constant(np.float32(0)), net.constant(np.float32(6)))
        net.node("Pad", net.last, net.constant(np.array([0, 0, 1, 0, 0, 0, 0, 1])))
    net.node("Dropout", net.last)
    net.node("AveragePool", net.last, kernel_shape=[2, 2], strides=[2, 2])
    net.axes("Unsqueeze", 4)
    net.axes("Squeeze", 4)
    net.node("Flatten", net.last)
    net.node("Gemm", net.last, net.weight(5, 64), net.weight(5), transB=1)
    net.node("Softmax", net.last, axis=1, output="y")
    return net.model([1, 3, 7, 7], [1, 5])


def recurrence(opset: int) -> onnx.ModelProto:
    """LSTM and GRU, Transpose, Slice, ReduceSum, an unfused layer normalisation, MatMul and Add."""
    net = Net(opset)
    net.node("LSTM", "x", net.weight(1, 16, 6), net.weight(1, 16, 4), net.weight(1, 32), hidden_size=4)
    net.axes("Squeeze", 1)
    net.node("GRU", net.last, net.weight(1, 12, 4), net.weight(1, 12, 4), hidden_size=4)
    net.axes("Squeeze", 1)
    if opset < 10:
        net.node("Slice", net.last, starts=[1], ends=[5], axes=[0])
    else:
        net.node("Slice", net.last, *(net.constant(np.array([n])) for n in (1, 5, 0)))
    net.node("Transpose", net.last, perm=[1, 0, 2])
    value = net.last
    mean = net.reduce_mean(value)
    centred = net.node("Sub", value, mean)
    square = net.node("Pow", centred, net.constant(np.float32(2)))
    deviation = net.node("Sqrt", net.node("Add", net.reduce_mean(square), net.constant(np.float32(1e-5))))
    net.node("Div", centred, deviation)
    net.node("MatMul", net.last, net.weight(4, 8))
    net.node("Add", net.last, net.weight(8))
    net.node("Mul", net.last, net.node("Sigmoid", net.last), output="y")
    return net.model([6, 2, 6], [2, 4, 8])


class Net:
    """Writes nodes one after the other, as an operator set wants them."""

    def __init__(self, opset: int) -> None:
        self.opset, self.last = opset, "x"
        self.nodes: list[onnx.NodeProto] = []
        self.weights: list[onnx.TensorProto] = []
        self.random = np.random.default_rng(opset)

    def node(self, op: str, *inputs: str, output: str = "", **attributes: object) -> str:
        self.last = output or f"v{len(self.nodes)}"
        self.nodes.append(helper.make_node(op, inputs, [self.last], **attributes))
        return self.last

    def axes(self, op: str, axis: int) -> str:
        if self.opset < 13:
            return self.node(op, self.last, axes=[axis])
        return self.node(op, self.last, self.constant(np.array([axis])))

    def reduce_mean(self, value: str) -> str:
        if self.opset < 18:
            return self.node("ReduceMean", value, axes=[-1] if self.opset >= 11 else [2])
        return self.node("ReduceMean", value, self.constant(np.array([-1])))

    def weight(self, *shape: int, positive: bool = False) -> str:
        array = (self.random.standard_normal(shape) / np.sqrt(np.prod(shape[1:]))).astype(np.float32)
        return self.constant(np.abs(array) + np.float32(0.5) if positive else array)

    def constant(self, array: np.ndarray | np.generic) -> str:
        self.weights.append(numpy_helper.from_array(np.asarray(array), f"w{len(self.weights)}"))
        return self.weights[-1].name

    def model(self, takes: list[int], gives: list[int]) -> onnx.ModelProto:
        value = helper.make_tensor_value_info
        graph = helper.make_graph(
            self.nodes, "net", [value("x", 1, takes)], [value("y", 1, gives)], self.weights
        )
        ir_version = max(4, helper.find_min_ir_version_for([helper.make_opsetid("", self.opset)]))
        return helper.make_model(
            graph, opset_imports=[helper.make_opsetid("", self.opset)], ir_version=ir_version
        )
