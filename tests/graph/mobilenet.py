"""MobileNetV2 with random weights, as PyTorch would export it: what the published latencies speak of."""

from __future__ import annotations

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper


def mobilenet_v2(size: int = 224, *, batchnorm: bool = False, seed: int = 0) -> onnx.ModelProto:
    """Input `x` (1, 3, size, size), output `y` (1, 1000)."""
    graph = NetworkGraph(seed, batchnorm)
    value, c = graph.conv("x", 3, 32, 3, 2), 32
    for t, out, n, stride in [(1, 16, 1, 1), (6, 24, 2, 2), (6, 32, 3, 2), (6, 64, 4, 2), (6, 96, 3, 1),
                              (6, 160, 3, 2), (6, 320, 1, 1)]:  # fmt: skip
        for i in range(n):
            s = stride if i == 0 else 1
            wide = graph.conv(value, c, c * t, 1, 1) if t > 1 else value
            wide = graph.conv(wide, c * t, c * t, 3, s, groups=c * t)
            narrow = graph.conv(wide, c * t, out, 1, 1, clip=False)
            value = graph.node("Add", value, narrow) if s == 1 and c == out else narrow
            c = out
    value = graph.node("GlobalAveragePool", graph.conv(value, c, 1280, 1, 1))
    value = graph.node("Flatten", value)
    graph.node("Gemm", value, graph.weight(1000, 1280), graph.weight(1000), output="y", transB=1)
    inputs = [helper.make_tensor_value_info("x", TensorProto.FLOAT, [1, 3, size, size])]
    outputs = [helper.make_tensor_value_info("y", TensorProto.FLOAT, [1, 1000])]
    proto = helper.make_graph(graph.nodes, "mobilenet_v2", inputs, outputs, graph.weights)
    return helper.make_model(proto, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)


class NetworkGraph:
    """Writes nodes one after the other, with random weights."""

    def __init__(self, seed: int, batchnorm: bool) -> None:
        self.random = np.random.default_rng(seed)
        self.batchnorm = batchnorm
        self.nodes: list[onnx.NodeProto] = []
        self.weights: list[onnx.TensorProto] = []

    def conv(self, x: str, c: int, out: int, k: int, s: int, groups: int = 1, clip: bool = True) -> str:
        y = self.node(
            "Conv", x, self.weight(out, c // groups, k, k), self.weight(out),
            kernel_shape=[k, k], strides=[s, s], pads=[k // 2] * 4, group=groups,
        )  # fmt: skip
        if self.batchnorm:
            y = self.node("BatchNormalization", y, *(self.weight(out, positive=True) for _ in range(4)))
        return self.node("Clip", y, self.scalar(0), self.scalar(6)) if clip else y

    def node(self, op: str, *inputs: str, output: str | None = None, **attributes: object) -> str:
        output = output or f"v{len(self.nodes)}"
        self.nodes.append(
            helper.make_node(op, list(inputs), [output], name=f"n{len(self.nodes)}", **attributes)
        )
        return output

    def weight(self, *shape: int, positive: bool = False) -> str:
        fan_in = max(1, int(np.prod(shape[1:])))
        array = self.random.normal(0, (2 / fan_in) ** 0.5, shape).astype(np.float32)
        return self._add(np.abs(array) + 0.5 if positive else array)

    def scalar(self, value: float) -> str:
        return self._add(np.array(value, np.float32))

    def _add(self, array: np.ndarray) -> str:
        name = f"w{len(self.weights)}"
        self.weights.append(numpy_helper.from_array(array, name))
        return name
