"""Make `model.onnx` and `data/`: a feed-forward mixer that names a letter from 16 measurements of its image.

The data are the 20,000 rows of Letter Recognition, as Debian's `r-cran-mlbench` ships them.

    apt-get download r-cran-mlbench=2.1-3-1 && dpkg-deb -x r-cran-mlbench_*.deb mlbench
    pip install torch==2.13.0 onnx==1.23.2 onnxruntime==1.28.0 rdata==1.1.0
    PYTHONPATH=examples python examples/fnn/make_example.py \
        mlbench/usr/lib/R/site-library/mlbench/data/LetterRecognition.rda
"""

import argparse
import pathlib

import numpy as np
import rdata
import torch
from _recipes import judge
from _training import export, fit, split, start
from torch import Tensor, nn

HERE = pathlib.Path(__file__).parent
PARTS = {"calibration": 256, "search": 744, "confirm": 5000}
FEATURES, CHANNELS, HIDDEN, DEPTH, WIDE = 16, 160, 384, 6, 192


def read_letters(source: pathlib.Path) -> tuple[np.ndarray, np.ndarray]:
    """Measurements `(20000, 16)`, whole numbers from 0 to 15, and classes `(20000,)`, A = 0."""
    table = rdata.read_rda(source, default_encoding="ascii")["LetterRecognition"]
    labels = np.array([ord(letter) - ord("A") for letter in table["lettr"]], dtype=np.int64)
    return table.drop(columns="lettr").to_numpy().astype(np.uint8), labels


def drop_repeats(features: np.ndarray, rest: np.ndarray, held_out: list[np.ndarray]) -> list[np.ndarray]:
    """The held-out rows that are not in training or an earlier part: 7 % of the rows repeat another one."""
    order = np.concatenate([rest, *held_out])
    first = order[np.unique(features[order], axis=0, return_index=True)[1]]
    return [part[np.isin(part, first)] for part in held_out]


class Mixer(nn.Module):
    """Mix the 16 features within every channel, then the channels within every feature; both residual."""

    def __init__(self) -> None:
        super().__init__()
        self.norm_1, self.norm_2 = nn.BatchNorm1d(FEATURES), nn.BatchNorm1d(FEATURES)
        self.features = perceptron(FEATURES, 4 * FEATURES)
        self.channels = perceptron(CHANNELS, HIDDEN)

    def forward(self, x: Tensor) -> Tensor:
        x = x + self.features(self.norm_1(x).transpose(1, 2)).transpose(1, 2)
        return x + self.channels(self.norm_2(x))


def perceptron(width: int, hidden: int) -> nn.Sequential:
    """Two linear layers over the last axis."""
    return nn.Sequential(nn.Linear(width, hidden), nn.ReLU(), nn.Dropout(0.1), nn.Linear(hidden, width))


class LetterNet(nn.Module):
    """(N, 16) raw measurements -> one vector per feature -> mixers -> wide layer -> (N, 26) logits."""

    def __init__(self, mean: Tensor, std: Tensor) -> None:
        super().__init__()
        self.register_buffer("mean", mean)
        self.register_buffer("std", std)
        self.scale = nn.Parameter(torch.randn(FEATURES, CHANNELS))
        self.shift = nn.Parameter(torch.randn(FEATURES, CHANNELS))
        self.mixers = nn.Sequential(*(Mixer() for _ in range(DEPTH)))
        self.wide = nn.Sequential(
            nn.Flatten(),
            nn.Linear(FEATURES * CHANNELS, WIDE),
            nn.BatchNorm1d(WIDE),
            nn.ReLU(),
            nn.Dropout(0.3),
            nn.Linear(WIDE, 26),
        )

    def forward(self, features: Tensor) -> Tensor:
        centred = (features - self.mean) / self.std
        return self.wide(self.mixers(centred.unsqueeze(-1) * self.scale + self.shift))


def augment(batch: Tensor) -> Tensor:
    """The measurements are rounded: blur them a little."""
    return batch + 0.4 * torch.randn_like(batch)


def main() -> None:
    """Read the package, train, export, write the parts and judge the result."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("source", type=pathlib.Path, help="LetterRecognition.rda")
    rng = start(seed=0)
    features, classes = read_letters(parser.parse_args().source)
    *held_out, rest = split(len(features), list(PARTS.values()), rng)
    inputs, labels = torch.from_numpy(features[rest]).float(), torch.from_numpy(classes[rest])
    model = LetterNet(inputs.mean(0), inputs.std(0))
    model = fit(model, inputs, labels, epochs=9, learning_rate=2e-3, augment=augment, batch_size=128)
    export(model, inputs[:1], HERE / "model.onnx", "features", dynamic_batch=True)

    (HERE / "data").mkdir(exist_ok=True)
    for part, chosen in zip(PARTS, drop_repeats(features, rest, held_out), strict=True):
        np.savez_compressed(HERE / "data" / f"{part}.npz", features=features[chosen], labels=classes[chosen])
    print("\n".join(judge(HERE)))


if __name__ == "__main__":
    main()
