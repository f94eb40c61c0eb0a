"""The trained example `cnn` with its images: what statistics of real activations are tested on."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from edgeopt.data.folder import read_folder
from edgeopt.data.images import Images
from edgeopt.data.preprocess import Preprocess
from edgeopt.graph.model import Model, freeze, load

EXAMPLE = Path(__file__).resolve().parents[2] / "examples" / "cnn"
PREPROCESS = Preprocess("gray", (32, 32), scale=1 / 255, mean=(0.1307,), std=(0.3081,), layout="NCHW")

Feeds = Mapping[str, NDArray[np.generic]]


@dataclass(frozen=True)
class Pictures:
    """Every k-th image of a part."""

    part: str
    every: int

    @property
    def digest(self) -> str:
        return f"{self.part} {self.every}"

    def samples(self) -> Iterator[Feeds]:
        source = Images(read_folder(EXAMPLE / "data" / self.part), cnn().inputs[0], PREPROCESS)
        return source.read(np.arange(0, len(source), self.every))


@cache
def cnn() -> Model:
    return freeze(load(EXAMPLE / "model.onnx"), {})
