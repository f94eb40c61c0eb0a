"""Networks of the kinds that people deploy, as edgeopt's candidates: what predictions are fitted with.

Published convolutional networks, the models of `examples/`, and four made here: a person detector of 96², an
autoencoder of dense layers, an LSTM and an encoder. Each as it is, and by edgeopt's own recipes.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import cache
from pathlib import Path

import numpy as np
import onnx
import published_networks
from onnx import TensorProto, helper, numpy_helper
from published_networks import Network

from edgeopt.boards import places
from edgeopt.core.artifact import Artifact
from edgeopt.graph.model import freeze, load
from edgeopt.testing.precision import Bench

EXAMPLES = Path(__file__).parent.parent / "examples"
SHAPES: dict[str, dict[str, tuple[int, ...]]] = {
    "fnn": {"features": (1, 16)},
    "transformer": {"tokens": (1, 128)},
}
"""Of the examples' inputs whose sizes are open."""

RECIPES = ("original", "int8_static_channel", "int8_dynamic")
"""As it is, and each scheme wherever it applies, with all rewrites."""


def person_detector() -> onnx.ModelProto:
    """MobileNetV1 with a quarter of the channels, 96² pixels, two classes."""
    net = Network(size=96).conv(8, 3, 2, act="relu6")
    pairs = [(16, 1), (32, 2), (32, 1), (64, 2), (64, 1), (128, 2), *[(128, 1)] * 5, (256, 2), (256, 1)]
    for out, stride in pairs:
        net.conv(net.channels, 3, stride, depthwise=True, act="relu6").conv(out, 1, act="relu6")
    return net.average().flatten().dense(2).model("person_detector")


class Sequence(Network):
    """A network of something else than images; `value` is `(…, channels)`."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.channels = channels

    def linear(self, out: int, act: str = "") -> Sequence:
        weights = self.normal((2 / self.channels) ** 0.5, self.channels, out), self.normal(0.05, out)
        self.value = self.node("Add", self.node("MatMul", self.value, weights[0]), weights[1])
        self.channels = out
        self.activate(act)
        return self

    def norm(self) -> Sequence:
        scale = self.weight(np.ones(self.channels, np.float32))
        self.value = self.node("LayerNormalization", self.value, scale, self.normal(0.1, self.channels))
        return self

    def ints(self, *numbers: int) -> str:
        name = f"w{len(self.weights)}"
        self.weights.append(numpy_helper.from_array(np.array(numbers, np.int64), name))
        return name

    def attention(self, heads: int, steps: int) -> Sequence:
        """Self-attention with its residual addition, input normalized."""
        before, width = self.value, self.channels
        here = self.norm().value
        parts = []
        for order in ([0, 2, 1, 3], [0, 2, 3, 1], [0, 2, 1, 3]):  # query, key, value
            self.value = here
            split = self.node("Reshape", self.linear(width).value, self.ints(1, steps, heads, width // heads))
            parts.append(self.node("Transpose", split, perm=order))
        scale = self.weight(np.array((width // heads) ** -0.5, np.float32))
        scores = self.node("Mul", self.node("MatMul", parts[0], parts[1]), scale)
        mixed = self.node("MatMul", self.node("Softmax", scores, axis=-1), parts[2])
        joined = self.node("Transpose", mixed, perm=[0, 2, 1, 3])
        self.value = self.node("Reshape", joined, self.ints(1, steps, width))
        self.value = self.node("Add", self.linear(width).value, before)
        return self

    def feed_forward(self, inner: int) -> Sequence:
        before, width = self.value, self.channels
        self.norm().linear(inner, act="relu").linear(width)
        self.value = self.node("Add", self.value, before)
        return self

    def lstm(self, hidden: int) -> Sequence:
        """The last hidden state of steps first, `(steps, 1, channels)`."""
        weights = (
            self.normal(self.channels**-0.5, 1, 4 * hidden, self.channels),
            self.normal(hidden**-0.5, 1, 4 * hidden, hidden),
            self.normal(0.05, 1, 8 * hidden),
        )
        name = f"n{len(self.nodes)}"
        self.nodes.append(
            helper.make_node("LSTM", [self.value, *weights], ["", "hidden"], name=name, hidden_size=hidden)
        )
        self.value, self.channels = "hidden", hidden
        return self

    def finished(self, name: str, read: tuple[int, ...], written: tuple[int, ...]) -> onnx.ModelProto:
        self.nodes[-1].output[0] = "y"
        x, y = (
            helper.make_tensor_value_info(value, TensorProto.FLOAT, shape)
            for value, shape in (("x", read), ("y", written))
        )
        graph = helper.make_graph(self.nodes, name, [x], [y], self.weights)
        model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
        onnx.checker.check_model(model)
        return model


def autoencoder() -> onnx.ModelProto:
    net = Sequence(640)
    for out in (128, 128, 128, 128, 8, 128, 128, 128, 128):
        net.linear(out, act="relu")
    return net.linear(640).finished("autoencoder", (1, 640), (1, 640))


def lstm() -> onnx.ModelProto:
    return Sequence(64).lstm(128).linear(10).finished("lstm", (50, 1, 64), (1, 1, 10))


def encoder() -> onnx.ModelProto:
    net = Sequence(256)
    for _ in range(2):
        net.attention(4, 64).feed_forward(1024)
    return net.finished("encoder", (1, 64, 256), (1, 64, 256))


MADE: dict[str, Callable[[], onnx.ModelProto]] = {
    "person_detector": person_detector,
    "autoencoder": autoencoder,
    "lstm": lstm,
    "encoder": encoder,
}
IMAGES = ("mobilenet_v2", "mobilenet_v3_large", "mobilenet_v1", "squeezenet_v1.0")
NETWORKS = ("cnn", "fnn", "rnn", "transformer", *MADE, *IMAGES)


def recipes(network: str) -> tuple[str, ...]:
    """Those that change a network: dynamic quantization is nothing for convolutions."""
    return RECIPES[:2] if network in ("cnn", "person_detector", *IMAGES) else RECIPES


def made(network: str, recipe: str) -> tuple[Artifact, dict[str, np.ndarray]]:
    """A candidate of one of the networks, and an input for it."""
    bench = _bench(network)
    default = bench.space.default()
    candidate = default if recipe == RECIPES[0] else bench.everywhere(recipe, "on")
    if recipe != RECIPES[0] and candidate == default:
        raise ValueError(f"{recipe} changes nothing in {network}")
    return bench.builder.build(candidate), dict(next(iter(bench.samples.samples())))


@cache
def _bench(network: str) -> Bench:
    folder = places.cache() / "virtual" / "deployed" / network
    folder.mkdir(parents=True, exist_ok=True)
    path = EXAMPLES / network / "model.onnx"
    if not path.exists():
        path = folder / f"{network}.onnx"
        onnx.save(MADE[network]() if network in MADE else published_networks.build(network), path)
    return Bench.of(freeze(load(path), SHAPES.get(network, {})), folder)
