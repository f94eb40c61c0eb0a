"""ResNet-50 with random weights, as PyTorch would export it before folding: 25.6 million parameters."""

from __future__ import annotations

import onnx
from onnx import TensorProto, helper

from tests.graph.mobilenet import NetworkGraph


def resnet_50(size: int = 224, seed: int = 0) -> onnx.ModelProto:
    """Input `x` (1, 3, size, size), output `y` (1, 1000)."""
    graph = NetworkGraph(seed, batchnorm=True)
    value = graph.node("Relu", graph.conv("x", 3, 64, 7, 2, clip=False))
    value = graph.node("MaxPool", value, kernel_shape=[3, 3], strides=[2, 2], pads=[1, 1, 1, 1])
    c = 64
    for narrow, blocks, first_stride in [(64, 3, 1), (128, 4, 2), (256, 6, 2), (512, 3, 2)]:
        for block in range(blocks):
            stride, wide = first_stride if block == 0 else 1, narrow * 4
            branch = graph.node("Relu", graph.conv(value, c, narrow, 1, 1, clip=False))
            branch = graph.node("Relu", graph.conv(branch, narrow, narrow, 3, stride, clip=False))
            branch = graph.conv(branch, narrow, wide, 1, 1, clip=False)
            skip = graph.conv(value, c, wide, 1, stride, clip=False) if block == 0 else value
            value, c = graph.node("Relu", graph.node("Add", branch, skip)), wide
    value = graph.node("Flatten", graph.node("GlobalAveragePool", value))
    graph.node("Gemm", value, graph.weight(1000, c), graph.weight(1000), output="y", transB=1)
    proto = helper.make_graph(
        graph.nodes,
        "resnet_50",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, [1, 3, size, size])],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, [1, 1000])],
        graph.weights,
    )
    return helper.make_model(proto, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
