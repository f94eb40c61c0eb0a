"""The networks whose latencies are published, as ONNX graphs with random weights.

Batch normalization is folded, as every runtime does. Input `x` (1, 3, 224, 224), output `y` (1, 1000). What a
network costs does not depend on its weights; they are drawn so that activations keep their variance.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper

SIZE = 224
CLASSES = 1000


class Network:
    """A network in the making: `value` is the current activation, `(1, channels, side, side)`."""

    def __init__(self, seed: int = 0, size: int = SIZE) -> None:
        self.random, self.size = np.random.default_rng(seed), size
        self.nodes: list[onnx.NodeProto] = []
        self.weights: list[onnx.TensorProto] = []
        self.value, self.channels, self.side = "x", 3, size

    def node(self, op: str, *inputs: str, **attributes: object) -> str:
        output = f"v{len(self.nodes)}"
        self.nodes.append(
            helper.make_node(op, list(inputs), [output], name=f"n{len(self.nodes)}", **attributes)
        )
        return output

    def weight(self, array: NDArray[np.float32]) -> str:
        name = f"w{len(self.weights)}"
        self.weights.append(numpy_helper.from_array(np.ascontiguousarray(array), name))
        return name

    def normal(self, spread: float, *shape: int) -> str:
        return self.weight(self.random.normal(0, spread, shape).astype(np.float32))

    def conv(
        self,
        out: int,
        k: int,
        stride: int = 1,
        *,
        depthwise: bool = False,
        act: str = "",
        padded: bool = True,
        gain: float = 2.0,
    ) -> Network:
        """A k x k convolution with bias; padding as TensorFlow's SAME, odd pixels at the end."""
        read = 1 if depthwise else self.channels
        weights = (self.normal((gain / (read * k * k)) ** 0.5, out, read, k, k), self.normal(0.05, out))
        total = max((-(-self.side // stride) - 1) * stride + k - self.side, 0) if padded else 0
        first, last = total // 2, total - total // 2
        self.side = (self.side + total - k) // stride + 1
        self.value = self.node(
            "Conv", self.value, *weights, kernel_shape=[k, k], strides=[stride, stride],
            pads=[first, first, last, last], group=self.channels if depthwise else 1,
        )  # fmt: skip
        self.channels = out
        return self.activate(act)

    def activate(self, act: str) -> Network:
        if act == "relu":
            self.value = self.node("Relu", self.value)
        elif act == "relu6":
            limits = (self.weight(np.array(limit, np.float32)) for limit in (0, 6))
            self.value = self.node("Clip", self.value, *limits)
        elif act == "hardswish":
            self.value = self.node("HardSwish", self.value)
        return self

    def max_pool(self, k: int = 3, stride: int = 2, pad: int = 0) -> Network:
        self.value = self.node(
            "MaxPool", self.value, kernel_shape=[k, k], strides=[stride, stride], pads=[pad] * 4
        )
        self.side = (self.side + 2 * pad - k) // stride + 1
        return self

    def average(self) -> Network:
        self.value, self.side = self.node("GlobalAveragePool", self.value), 1
        return self

    def flatten(self) -> Network:
        self.value = self.node("Flatten", self.value)
        return self

    def dense(self, out: int, act: str = "") -> Network:
        weights = (self.normal((2 / self.channels) ** 0.5, out, self.channels), self.normal(0.05, out))
        self.value, self.channels = self.node("Gemm", self.value, *weights, transB=1), out
        return self.activate(act)

    def squeeze_excite(self, reduced: int) -> Network:
        value, channels, side = self.value, self.channels, self.side
        self.average().conv(reduced, 1, act="relu").conv(channels, 1)
        gate = self.node("HardSigmoid", self.value, alpha=1 / 6, beta=0.5)
        self.value, self.side = self.node("Mul", value, gate), side
        return self

    def inverted(self, k: int, expanded: int, out: int, stride: int, act: str, reduced: int = 0) -> Network:
        """The inverted residual of MobileNetV2 and V3."""
        value, channels = self.value, self.channels
        if expanded != channels:
            self.conv(expanded, 1, act=act)
        self.conv(expanded, k, stride, depthwise=True, act=act)
        if reduced:
            self.squeeze_excite(reduced)
        self.conv(out, 1, gain=1.0)
        if stride == 1 and channels == out:
            self.value = self.node("Add", self.value, value)
        return self

    def model(self, name: str) -> onnx.ModelProto:
        self.nodes[-1].output[0] = "y"
        graph = helper.make_graph(
            self.nodes,
            name,
            [helper.make_tensor_value_info("x", TensorProto.FLOAT, [1, 3, self.size, self.size])],
            [helper.make_tensor_value_info("y", TensorProto.FLOAT, [1, self.channels])],
            self.weights,
        )
        model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
        onnx.checker.check_model(model)
        return model


def mobilenet_v1() -> Network:
    net = Network().conv(32, 3, 2, act="relu6")
    pairs = [(64, 1), (128, 2), (128, 1), (256, 2), (256, 1), (512, 2), *[(512, 1)] * 5, (1024, 2), (1024, 1)]
    for out, stride in pairs:
        net.conv(net.channels, 3, stride, depthwise=True, act="relu6").conv(out, 1, act="relu6")
    return net.average().flatten().dense(CLASSES)


def mobilenet_v2() -> Network:
    net = Network().conv(32, 3, 2, act="relu6")
    stages = [(1, 16, 1, 1), (6, 24, 2, 2), (6, 32, 3, 2), (6, 64, 4, 2), (6, 96, 3, 1), (6, 160, 3, 2)]
    for widening, out, repeats, stride in [*stages, (6, 320, 1, 1)]:
        for i in range(repeats):
            net.inverted(3, widening * net.channels, out, stride if i == 0 else 1, "relu6")
    return net.conv(1280, 1, act="relu6").average().flatten().dense(CLASSES)


def mobilenet_v3_large() -> Network:
    net = Network().conv(16, 3, 2, act="hardswish")
    rows = """3 16 16 0 1 relu; 3 64 24 0 2 relu; 3 72 24 0 1 relu; 5 72 40 24 2 relu; 5 120 40 32 1 relu;
        5 120 40 32 1 relu; 3 240 80 0 2 hardswish; 3 200 80 0 1 hardswish; 3 184 80 0 1 hardswish;
        3 184 80 0 1 hardswish; 3 480 112 120 1 hardswish; 3 672 112 168 1 hardswish;
        5 672 160 168 2 hardswish; 5 960 160 240 1 hardswish; 5 960 160 240 1 hardswish"""
    for row in rows.split(";"):
        *numbers, act = row.split()
        k, expanded, out, reduced, stride = map(int, numbers)
        net.inverted(k, expanded, out, stride, act, reduced)
    net.conv(960, 1, act="hardswish").average().flatten()
    return net.dense(1280, "hardswish").dense(CLASSES)


def squeezenet_v1_0() -> Network:
    net = Network().conv(96, 7, 2, act="relu", padded=False).max_pool()
    for fire, squeezed in enumerate((16, 16, 32, 32, 48, 48, 64, 64), start=2):
        value = net.conv(squeezed, 1, act="relu").value
        one = net.conv(4 * squeezed, 1, act="relu").value
        net.value, net.channels = value, squeezed
        three = net.conv(4 * squeezed, 3, act="relu").value
        net.value, net.channels = net.node("Concat", one, three, axis=1), 8 * squeezed
        if fire in (4, 8):
            net.max_pool()
    return net.conv(CLASSES, 1, act="relu").average().flatten()


def resnet(repeats: tuple[int, ...], *, bottleneck: bool) -> Network:
    net = Network().conv(64, 7, 2, act="relu").max_pool(pad=1)
    for stage, count in enumerate(repeats):
        width = 64 << stage
        for i in range(count):
            stride = 2 if stage and i == 0 else 1
            value, channels, side = net.value, net.channels, net.side
            if bottleneck:
                net.conv(width, 1, act="relu").conv(width, 3, stride, act="relu").conv(4 * width, 1, gain=0.3)
            else:
                net.conv(width, 3, stride, act="relu").conv(width, 3, gain=0.5)
            main, out, side_out = net.value, net.channels, net.side
            if out != channels:
                net.value, net.channels, net.side = value, channels, side
                value = net.conv(out, 1, stride, gain=1.0).value
                net.side = side_out
            net.value = net.node("Relu", net.node("Add", main, value))
    return net.average().flatten().dense(CLASSES)


NETWORKS: dict[str, Callable[[], Network]] = {
    "mobilenet_v1": mobilenet_v1,
    "mobilenet_v2": mobilenet_v2,
    "mobilenet_v3_large": mobilenet_v3_large,
    "squeezenet_v1.0": squeezenet_v1_0,
    "resnet18": lambda: resnet((2, 2, 2, 2), bottleneck=False),
    "resnet50": lambda: resnet((3, 4, 6, 3), bottleneck=True),
}


def build(name: str) -> onnx.ModelProto:
    """One of the networks by the name that `published_latency.csv` gives it."""
    return NETWORKS[name]().model(name)
