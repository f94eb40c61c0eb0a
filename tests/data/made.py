"""Small data sets and models that the tests of data are made of."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from edgeopt.core.tensor import TensorSpec
from edgeopt.data.dataset import Dataset
from edgeopt.data.source import open_data

X4 = TensorSpec("x", "float32", (1, 4))


def npz(path: Path, **arrays: Any) -> str:
    np.savez(path / "data.npz", **arrays)
    return "data.npz"


def opened(path: Path, *inputs: TensorSpec, **arrays: Any) -> Dataset:
    return open_data(npz(path, **arrays), inputs or (X4,), base=path)


def labelled(path: Path, n: int, *, seed: int = 0, classes: int = 4, **more: Any) -> Dataset:
    """Samples whose largest element is at their label."""
    rng = np.random.default_rng(seed)
    labels = rng.integers(0, classes, n)
    x = rng.uniform(0, 0.5, (n, classes)).astype(np.float32)
    x[np.arange(n), labels] += 1
    return opened(path, TensorSpec("x", "float32", (1, classes)), x=x, labels=labels, **more)


def identity(feeds: Mapping[str, Any]) -> list[Any]:
    """A model whose output is its input."""
    return [feeds["x"].copy()]


def wrong_where(is_wrong: Callable[[np.ndarray], bool]) -> Callable[[Mapping[str, Any]], list[Any]]:
    """The identity, turned around for some samples: its largest element becomes the smallest."""

    def run(feeds: Mapping[str, Any]) -> list[Any]:
        return [-feeds["x"] if is_wrong(feeds["x"]) else feeds["x"].copy()]

    return run


class Watched:
    """A data set that notes which samples were read."""

    def __init__(self, dataset: Dataset) -> None:
        self._dataset = dataset
        self.read: list[int] = []

    def __getattr__(self, name: str) -> Any:
        return getattr(self._dataset, name)

    def __len__(self) -> int:
        return len(self._dataset)

    def samples(self, indices: np.ndarray | None = None) -> Iterator[Any]:
        wanted = range(len(self)) if indices is None else indices
        for index, feeds in zip(wanted, self._dataset.samples(indices), strict=True):
            self.read.append(int(index))
            yield feeds
