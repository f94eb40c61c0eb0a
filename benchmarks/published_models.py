"""Count the networks whose latencies are published: operations, parameters, activations, layers.

`python benchmarks/published_models.py` writes `device_profiles/published_models.csv` from the layer tables
of the papers. Batch normalization and activation functions are folded into their convolution, as every
runtime in `published_latency.csv` does; additions, poolings, concatenations and squeeze-excite products
are layers of their own, without multiply-adds.
"""

from __future__ import annotations

import csv
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

TABLE = Path(__file__).parent.parent / "device_profiles" / "published_models.csv"
COLUMNS = ("model", "input", "macs", "params", "read_elements", "write_elements", "layers", "source")


@dataclass(frozen=True)
class Layer:
    """One layer; `read` and `write` are elements of activations."""

    macs: int
    params: int
    read: int
    write: int


class Net:
    """A network in the making: the current activation `(c, h, h)`, and the layers so far."""

    def __init__(self, size: int) -> None:
        self.c, self.h = 3, size
        self.layers: list[Layer] = []

    def conv(self, c: int, k: int, s: int = 1, *, depthwise: bool = False, padded: bool = True) -> Net:
        """A k x k convolution of stride s to c channels, with bias; "same" padding unless told."""
        weights = c * k * k * (1 if depthwise else self.c)
        read = self.c * self.h**2
        self.h = -(-self.h // s) if padded else (self.h - k) // s + 1
        self.c = c
        return self._layer(read, weights * self.h**2, weights + c)

    def elementwise(self, inputs: int = 2) -> Net:
        """An addition or product of `inputs` activations, or a copy (1)."""
        return self._layer(inputs * self.c * self.h**2)

    def pool(self, s: int | None = 2, *, h: int | None = None) -> Net:
        """Max pooling of stride s to side `h`; None pools the whole plane."""
        read = self.c * self.h**2
        self.h = 1 if s is None else h or self.h // s
        return self._layer(read)

    def squeeze_excite(self, reduced: int) -> Net:
        c, h = self.c, self.h
        self.pool(None).conv(reduced, 1).conv(c, 1)
        self.h = h
        return self.elementwise()

    def inverted(self, k: int, expanded: int, c: int, s: int, reduced: int = 0) -> Net:
        """The inverted residual of MobileNetV2, V3 and EfficientNet."""
        residual = s == 1 and self.c == c
        if expanded != self.c:
            self.conv(expanded, 1)
        self.conv(expanded, k, s, depthwise=True)
        if reduced:
            self.squeeze_excite(reduced)
        self.conv(c, 1)
        return self.elementwise() if residual else self

    def total(self, what: str) -> int:
        """Sum of one field over all layers."""
        return sum(getattr(layer, what) for layer in self.layers)

    def _layer(self, read: int, macs: int = 0, params: int = 0) -> Net:
        self.layers.append(Layer(macs, params, read, self.c * self.h**2))
        return self


def mobilenet_v1() -> Net:
    net = Net(224).conv(32, 3, 2)
    blocks = [
        (64, 1),
        (128, 2),
        (128, 1),
        (256, 2),
        (256, 1),
        (512, 2),
        *[(512, 1)] * 5,
        (1024, 2),
        (1024, 1),
    ]
    for c, s in blocks:
        net.conv(net.c, 3, s, depthwise=True).conv(c, 1)
    return net.pool(None).conv(1000, 1)


def mobilenet_v2() -> Net:
    net = Net(224).conv(32, 3, 2)
    stages = [(1, 16, 1, 1), (6, 24, 2, 2), (6, 32, 3, 2), (6, 64, 4, 2), (6, 96, 3, 1), (6, 160, 3, 2)]
    for t, c, n, s in [*stages, (6, 320, 1, 1)]:
        for i in range(n):
            net.inverted(3, t * net.c, c, s if i == 0 else 1)
    return net.conv(1280, 1).pool(None).conv(1000, 1)


def mobilenet_v3_large() -> Net:
    net = Net(224).conv(16, 3, 2)
    rows = """3 16 16 0 1; 3 64 24 0 2; 3 72 24 0 1; 5 72 40 1 2; 5 120 40 1 1; 5 120 40 1 1; 3 240 80 0 2;
        3 200 80 0 1; 3 184 80 0 1; 3 184 80 0 1; 3 480 112 1 1; 3 672 112 1 1; 5 672 160 1 2; 5 960 160 1 1;
        5 960 160 1 1"""
    for row in rows.split(";"):
        k, expanded, c, squeezed, s = (int(x) for x in row.split())
        net.inverted(k, expanded, c, s, reduced=squeezed * expanded // 4)
    return net.conv(960, 1).pool(None).conv(1280, 1).conv(1000, 1)


def efficientnet_b0() -> Net:
    net = Net(224).conv(32, 3, 2)
    stages = [(1, 16, 1, 1, 3), (6, 24, 2, 2, 3), (6, 40, 2, 2, 5), (6, 80, 3, 2, 3), (6, 112, 3, 1, 5)]
    for t, c, n, s, k in [*stages, (6, 192, 4, 2, 5), (6, 320, 1, 1, 3)]:
        for i in range(n):
            net.inverted(k, t * net.c, c, s if i == 0 else 1, reduced=net.c // 4)
    return net.conv(1280, 1).pool(None).conv(1000, 1)


def _squeezenet(first: tuple[int, int], pools: tuple[int, ...]) -> Net:
    net = Net(224).conv(*first, 2, padded=False).pool(h=55 if first[1] == 3 else 54)
    for fire, squeeze in enumerate((16, 16, 32, 32, 48, 48, 64, 64), start=2):
        net.conv(squeeze, 1).conv(4 * squeeze, 1)
        net.c = squeeze  # the second expansion reads the squeezed activation too
        net.conv(4 * squeeze, 3)
        net.c = 8 * squeeze
        net.elementwise(1)
        if fire in pools:
            net.pool()
    return net.conv(1000, 1).pool(None)


def squeezenet_v1_0() -> Net:
    return _squeezenet((96, 7), pools=(4, 8))


def squeezenet_v1_1() -> Net:
    return _squeezenet((64, 3), pools=(3, 5))


def _resnet(blocks: tuple[int, ...], block: Callable[[Net, int, int], None], widening: int) -> Net:
    net = Net(224).conv(64, 7, 2).pool()
    for stage, n in enumerate(blocks):
        for i in range(n):
            s = 2 if stage and i == 0 else 1
            c_in, h_in = net.c, net.h
            block(net, 64 << stage, s)
            c, h = net.c, net.h
            if c != c_in:
                net.c, net.h = c_in, h_in
                net.conv(c, 1, s)
                net.c, net.h = c, h
            net.elementwise()
    assert net.c == 512 * widening
    return net.pool(None).conv(1000, 1)


def resnet18() -> Net:
    return _resnet((2, 2, 2, 2), lambda net, c, s: void(net.conv(c, 3, s).conv(c, 3)), 1)


def resnet50() -> Net:
    return _resnet((3, 4, 6, 3), lambda net, c, s: void(net.conv(c, 1).conv(c, 3, s).conv(4 * c, 1)), 4)


def void(_: object) -> None:
    """Drop a result."""


def yolov4_tiny() -> Net:
    net = Net(416).conv(32, 3, 2).conv(64, 3, 2)
    for c in (64, 128, 256):
        net.conv(c, 3)
        net.c = c // 2
        net.conv(c // 2, 3).conv(c // 2, 3)
        net.c = c
        net.elementwise(1).conv(c, 1)
        net.c = 2 * c
        net.elementwise(1).pool()
    net.conv(512, 3).conv(256, 1).conv(512, 3).conv(255, 1)
    net.c = 256
    net.conv(128, 1)
    net.h = 26
    net.elementwise(1)
    net.c = 384
    return net.elementwise(1).conv(256, 3).conv(255, 1)


NETWORKS = {
    "mobilenet_v1": (mobilenet_v1, "arXiv 1704.04861 table 1"),
    "mobilenet_v2": (mobilenet_v2, "arXiv 1801.04381 table 2"),
    "mobilenet_v3_large": (mobilenet_v3_large, "arXiv 1905.02244 table 1"),
    "efficientnet_b0": (efficientnet_b0, "arXiv 1905.11946 table 1"),
    "squeezenet_v1.0": (squeezenet_v1_0, "arXiv 1602.07360 table 1"),
    "squeezenet_v1.1": (squeezenet_v1_1, "forresti/SqueezeNet SqueezeNet_v1.1"),
    "resnet18": (resnet18, "arXiv 1512.03385 table 1"),
    "resnet50": (resnet50, "arXiv 1512.03385 table 1, stride in the 3x3"),
    "yolov4_tiny": (yolov4_tiny, "AlexeyAB/darknet cfg/yolov4-tiny.cfg"),
}


def main() -> None:
    with TABLE.open("w", newline="", encoding="utf-8") as stream:
        writer = csv.writer(stream, lineterminator="\n")
        writer.writerow(COLUMNS)
        for name, (build, source) in NETWORKS.items():
            size = 416 if name == "yolov4_tiny" else 224
            net = build()
            totals = [net.total(what) for what in ("macs", "params", "read", "write")]
            writer.writerow((name, size, *totals, len(net.layers), source))


if __name__ == "__main__":
    main()
