"""Random search spaces that look like those of real networks: to train policies and compare searches on."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np

from edgeopt.core.digest import value_digest
from edgeopt.core.region import Region
from edgeopt.core.space import DecisionPoint, SearchSpace

CONVOLUTION = ("int8_static_channel", "int8_static_tensor", "float16_weights", "int8_weights")
MATRIX = ("int8_static_channel", "int8_static_tensor", "int8_dynamic", "float16_weights", "int8_weights")
RECURRENT = ("int8_dynamic", "float16_weights", "int8_weights")
"""The precision schemes that edgeopt has, by what they apply to."""


@dataclass(slots=True)
class _Network:
    """A network under construction: regions, and the precisions that each can take."""

    rng: np.random.Generator
    regions: list[Region] = field(default_factory=list)
    options: dict[str, tuple[str, ...]] = field(default_factory=dict)

    def add(
        self, name: str, pattern: str, ops: tuple[str, ...], before: tuple[str, ...], flops: float,
        weights: float, size: float, options: tuple[str, ...] = (),
    ) -> str:  # fmt: skip
        """One region more; returns its name."""
        read = sum(r.output_bytes for r in self.regions if r.name in before) or size
        self.regions.append(
            Region(
                name, pattern, (name,), ops, ("x",), ("y",), before, int(flops), int(weights), int(read),
                int(size),
            )
        )  # fmt: skip
        self.options[name] = options
        return name


WIDTHS = ("100%", "75%", "50%", "25%")
"""Shares of a layer's units that may be left, the default first."""


def random_space(rng: np.random.Generator, largest: int = 60, structured: bool = False) -> SearchSpace:
    """A convolutional network, a transformer or a recurrent one, of 6 to `largest` regions.

    Args:
        structured: Whether widths of two thirds of the convolutions and products are decided, too; the
            precisions are the same either way.
    """
    network = _Network(rng)
    build = (_convolutional, _transformer, _recurrent)[rng.choice(3, p=(0.55, 0.3, 0.15))]
    build(network, int(np.exp(rng.uniform(np.log(6), np.log(largest)))))
    known = rng.uniform() < 0.7  # some boards cannot run some schemes
    points = []
    for region in network.regions:
        if region.op_types[0] in ("Conv", "MatMul") and rng.uniform() < 0.3:
            points.append(DecisionPoint(f"rewrite:fold@{region.name}", ("off", "on"), "off"))
        offered = network.options[region.name] if known else network.options[region.name][:1]
        if offered:
            points.append(DecisionPoint(f"precision@{region.name}", ("float32", *offered), "float32"))
    cores = int(rng.choice([1, 2, 4]))
    threads = tuple(str(n) for n in (1, 2, 4) if n <= cores)
    points.append(DecisionPoint("runtime:threads", threads, threads[-1]))
    if rng.uniform() < 0.5:
        points.append(DecisionPoint("runtime:allow_spinning", ("0", "1"), "1"))
    if structured:
        points = _with_widths(points, network, rng)
    digest = value_digest([[r.name, r.pattern, r.flops] for r in network.regions])
    return SearchSpace(digest, tuple(points), tuple(network.regions))


def _with_widths(
    points: list[DecisionPoint], network: _Network, rng: np.random.Generator
) -> list[DecisionPoint]:
    """Before the other decisions of their region; repeated blocks have the same, the last region has none."""
    patterns: dict[str, bool] = {}
    for region in network.regions[:-1]:
        if region.op_types[0] in ("Conv", "MatMul") and region.weight_bytes:
            patterns.setdefault(region.pattern, bool(rng.uniform() < 2 / 3))
    widths = {
        region.name: DecisionPoint(f"structure:width@{region.name}", WIDTHS, WIDTHS[0])
        for region in network.regions[:-1]
        if patterns.get(region.pattern)
    }
    found: list[DecisionPoint] = []
    for point in points:
        if width := widths.pop(point.region or "", None):
            found.append(width)
        found.append(point)
    return [*widths.values(), *found]  # of regions where nothing else is decided


def _convolutional(net: _Network, size: int) -> None:
    """Stages of repeated blocks (plain, residual or inverted), a pooling and a classifier."""
    rng = net.rng
    side, channels = float(rng.choice([32, 64, 112, 160])), float(rng.choice([8, 16, 32]))
    inverted, residual = rng.uniform() < 0.5, rng.uniform() < 0.7
    last = _conv(net, "/stem", "stem", (), side, 3, channels, 3)
    stage = 0
    while len(net.regions) < size - 2:
        stage, grown = stage + 1, channels * float(rng.choice([1.0, 1.5, 2.0]))
        side = max(side / 2, 4.0) if rng.uniform() < 0.7 else side
        for b in range(int(rng.integers(1, 5))):
            name, pattern, entry = f"/s{stage}/b{b}", f"s{stage}/{'first' if b == 0 else 'next'}", last
            if inverted:
                wide = 4 * channels
                last = _conv(net, f"{name}/expand", f"{pattern}/e", (last,), side, channels, wide, 1)
                last = _conv(net, f"{name}/dw", f"{pattern}/d", (last,), side, 1, wide, 3)
                last = _conv(net, f"{name}/project", f"{pattern}/p", (last,), side, wide, grown, 1)
            else:
                last = _conv(net, f"{name}/a", f"{pattern}/a", (last,), side, channels, grown, 3)
                last = _conv(net, f"{name}/b", f"{pattern}/b", (last,), side, grown, grown, 3)
            channels = grown
            if residual and b:
                moved = side * side * channels
                last = net.add(f"{name}/add", "add", ("Add",), (last, entry), moved, 0, 4 * moved)
            if len(net.regions) >= size - 2:
                break
    last = net.add("/pool", "pool", ("GlobalAveragePool",), (last,), side * side * channels, 0, 4 * channels)
    _matrix(net, "/head", "head", (last,), 1, channels, float(rng.choice([10, 100, 1000])))


def _transformer(net: _Network, size: int) -> None:
    """Layers of attention and feed-forward with residuals."""
    rng = net.rng
    tokens, width = float(rng.choice([32, 64, 128, 196])), float(rng.choice([64, 128, 256, 384]))
    last = net.add("/embed", "embed", ("Gather",), (), tokens, 1000 * width, 4 * tokens * width)
    layer = 0
    while len(net.regions) < size - 1:
        layer, name, entry = layer + 1, f"/l{layer}", last
        normal = net.add(
            f"{name}/norm", "norm", ("LayerNormalization",), (last,), 8 * tokens * width, 8 * width,
            4 * tokens * width,
        )  # fmt: skip
        heads = [_matrix(net, f"{name}/{x}", f"qkv{x}", (normal,), tokens, width, width) for x in "qkv"]
        scores = net.add(
            f"{name}/scores", "scores", ("MatMul", "Softmax"), (heads[0], heads[1]), 2 * tokens**2 * width, 0,
            4 * tokens**2 * 4, MATRIX[:2],
        )  # fmt: skip
        mixed = net.add(
            f"{name}/mix", "mix", ("MatMul",), (scores, heads[2]), 2 * tokens**2 * width, 0,
            4 * tokens * width, MATRIX[:2],
        )  # fmt: skip
        out = _matrix(net, f"{name}/out", "out", (mixed, entry), tokens, width, width)
        wide = _matrix(net, f"{name}/up", "up", (out,), tokens, width, 4 * width)
        last = _matrix(net, f"{name}/down", "down", (wide, out), tokens, 4 * width, width)
    _matrix(net, "/head", "head", (last,), 1, width, 10)


def _recurrent(net: _Network, size: int) -> None:
    """A few convolutions, recurrent layers, a classifier: few regions, whatever is asked for."""
    rng = net.rng
    steps, width = float(rng.choice([16, 50, 100])), float(rng.choice([32, 64, 128, 256]))
    last = ""
    for i in range(int(rng.integers(0, max(size // 3, 2)))):
        last = _conv(net, f"/c{i}", f"c{i % 2}", (last,) if last else (), np.sqrt(steps), width, width, 3)
    for i in range(int(rng.integers(1, max(size // 2, 3)))):
        last = net.add(
            f"/rnn{i}", "rnn", (str(rng.choice(["LSTM", "GRU"])),), (last,) if last else (),
            16 * steps * width * width, 32 * width * width, 4 * steps * width, RECURRENT,
        )  # fmt: skip
    for i in range(int(rng.integers(1, 4))):
        last = _matrix(net, f"/fc{i}", f"fc{i}", (last,), 1, width, width)


def _conv(
    net: _Network, name: str, pattern: str, before: tuple[str, ...], side: float, read: float, made: float,
    kernel: float,
) -> str:  # fmt: skip
    weights = kernel * kernel * read * made
    return net.add(
        name, pattern, ("Conv",), before, 2 * weights * side * side, 4 * weights, 4 * side * side * made,
        CONVOLUTION,
    )  # fmt: skip


def _matrix(
    net: _Network, name: str, pattern: str, before: tuple[str, ...], rows: float, read: float, made: float
) -> str:
    return net.add(
        name, pattern, ("MatMul",), before, 2 * rows * read * made, 4 * read * made, 4 * rows * made, MATRIX
    )
