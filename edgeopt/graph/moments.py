"""What layers read on calibration data: means, covariances, and extremes per channel.

Ranges of whole tensors are not enough to round a layer's weights by what they do to its output, nor to scale
its channels. These statistics cost more than ranges, so they are collected when they are first asked for, in
one pass for all layers of a model, and kept in files.

Source: of the use of means, Nagel et al. 2019 (arXiv:1906.04721), section 4.2; of covariances, Frantar et al.
2022 (arXiv:2210.17323), section 3.
"""

from __future__ import annotations

import io
import zipfile
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import islice, pairwise
from pathlib import Path
from typing import Any

import numpy as np
import onnx_ir as ir
from numpy.typing import NDArray

from edgeopt.core.digest import value_digest
from edgeopt.core.files import write_atomically
from edgeopt.graph.calibration import OPTIONS, Runs, Samples
from edgeopt.graph.convolution import Geometry
from edgeopt.graph.model import Model
from edgeopt.graph.serialize import to_bytes
from edgeopt.runtimes.onnxruntime import Session

Floats = NDArray[np.float32]

FORMAT = 1
"""Of the files; part of their keys."""

BLOCK = 1152
"""Inputs whose covariances are kept; of two that lie in different blocks they count as zero. So a layer
costs memory and time in proportion to its inputs, however many it has. (128 channels, 3 x 3.)"""

ROWS = 4096
"""Of a layer that are looked at in all, evenly taken from the samples."""

SAMPLES = 512
"""The most that are run."""

BUDGET_BYTES = 128 << 20
"""Of covariances in one pass: layers beyond take another."""


@dataclass(frozen=True, slots=True)
class Reads:
    """What a layer reads: rows of a tensor.

    Attributes:
        tensor: Its name.
        geometry: Of a Conv, whose rows are windows; None for products, whose rows are along the last axis.
    """

    tensor: str
    geometry: Geometry | None


@dataclass(frozen=True, slots=True)
class Moments:
    """Of the n inputs that each of g groups reads for one output, in the order of the weights.

    Attributes:
        mean: (g, n).
        covariance: (g, b, b), block by block; the b add up to n.
    """

    mean: Floats
    covariance: Sequence[Floats]

    def divided(self, scale: Floats) -> Moments:
        """The moments after channel c of the tensor was divided by scale[c].

        Args:
            scale: One for each channel of the tensor, which are those of all groups in turn.
        """
        groups, n = self.mean.shape
        each = np.repeat(scale, groups * n // len(scale)).reshape(groups, n)
        blocks, start = [], 0
        for block in self.covariance:
            part = each[:, start : start + block.shape[-1]]
            blocks.append(block / (part[:, :, None] * part[:, None, :]))
            start += block.shape[-1]
        return Moments(self.mean / each, blocks)


class Statistics:
    """Moments and extremes of one model on one part of the data.

    Args:
        model: Frozen.
        part: Calibration samples; the first `SAMPLES` are used.
        folder: Where they are kept by model, shapes, samples and layer; None keeps them in memory.
        session: Loads a model.
    """

    def __init__(
        self,
        model: Model,
        part: Samples,
        *,
        folder: Path | None = None,
        session: Callable[[bytes, Mapping[str, object]], Runs] = Session,
    ) -> None:
        self._model, self._part, self._folder, self._session = model, part, folder, session
        self._floats = {
            str(value.name)
            for value in (*model.ir.graph.inputs, *(v for node in model.ir.graph for v in node.outputs))
            if value.dtype == ir.DataType.FLOAT and value.name
        }
        self._kept: dict[str, Sequence[Floats]] = {}
        self._key = value_digest(FORMAT, model.digest, [(s.name, s.shape) for s in model.inputs], part.digest)

    @property
    def digest(self) -> str:
        """Of what the statistics follow from: part of the build keys of candidates that use them."""
        return self._key

    def prepare(self, reads: Iterable[Reads], channels: Iterable[str] = ()) -> None:
        """Collect what is not known yet, in as few passes as memory allows.

        What the model itself does not compute (a rewrite made it) stays unknown.

        Args:
            reads: Of layers whose moments will be asked for.
            channels: Names of tensors whose extremes will be.

        Raises:
            ModelError: The runtime refuses the model.
            CandidateFailed: It cannot compute a sample.
            EdgeoptError: The files cannot be written (disk full, permission).
        """
        layers = [
            one for one in dict.fromkeys(reads) if one.tensor in self._floats and not self._has(_name(one))
        ]
        names = [
            name for name in dict.fromkeys(channels) if name in self._floats and not self._has(_name(name))
        ]
        while layers or names:
            self._pass(layers, names)
            layers = [one for one in layers if not self._has(_name(one))]
            names = []

    def moments(self, reads: Reads) -> Moments | None:
        """Of a layer's inputs; None if they were not prepared or cannot be."""
        kept = self._load(_name(reads))
        return None if not kept else Moments(kept[0], kept[1:])

    def extremes(self, tensor: str) -> tuple[Floats, Floats] | None:
        """Smallest and largest value in each channel (axis 1) of a tensor; None as above."""
        kept = self._load(_name(tensor))
        return None if not kept else (kept[0], kept[1])

    def _pass(self, layers: Sequence[Reads], names: Sequence[str]) -> None:
        """Run the samples once; layers that no longer fit the budget are left for another pass."""
        graph = self._model.ir.clone()
        wanted = dict.fromkeys([*(one.tensor for one in layers), *names])
        given = {str(value.name) for value in graph.graph.inputs}
        by_name = {str(value.name): value for node in graph.graph for value in node.outputs}
        graph.graph.outputs[:] = [by_name[name] for name in wanted if name not in given] or [
            graph.graph.outputs[0]
        ]
        outputs = [str(value.name) for value in graph.graph.outputs]
        loaded = self._session(to_bytes(graph), OPTIONS)
        sums = {one: _Sums() for one in layers}
        lows: dict[str, Floats] = {}
        highs: dict[str, Floats] = {}
        count = sum(1 for _ in islice(self._part.samples(), SAMPLES))
        share = -(-ROWS // max(count, 1))
        for number, feeds in enumerate(islice(self._part.samples(), SAMPLES)):
            values = {**feeds, **dict(zip(outputs, loaded.run(feeds), strict=True))}
            for name in names:
                low, high = _extremes(np.asarray(values[name], np.float32))
                lows[name] = np.minimum(lows.get(name, low), low)
                highs[name] = np.maximum(highs.get(name, high), high)
            for one in tuple(sums):
                sums[one].add(rows(np.asarray(values[one.tensor], np.float32), one.geometry, share, number))
                if number == 0:
                    self._keep_to_budget(sums, one)
        for one, found in sums.items():
            self._save(_name(one), found.moments())
        for name in names:
            self._save(_name(name), [lows[name], highs[name]] if name in lows else [])

    def _keep_to_budget(self, sums: dict[Reads, _Sums], one: Reads) -> None:
        held = sum(found.nbytes for found in sums.values())
        if held > BUDGET_BYTES and sum(found.nbytes > 0 for found in sums.values()) > 1:
            del sums[one]

    def _has(self, name: str) -> bool:
        return name in self._kept or (self._folder is not None and self._path(name).exists())

    def _path(self, name: str) -> Path:
        folder = self._folder if self._folder is not None else Path()
        return folder / f"moments-{value_digest(self._key, name)[:32]}.npz"

    def _save(self, name: str, arrays: Sequence[Floats]) -> None:
        if self._folder is None:
            self._kept[name] = arrays
            return
        content = io.BytesIO()
        np.savez(content, *arrays)
        write_atomically(self._path(name), content.getvalue())

    def _load(self, name: str) -> Sequence[Floats]:
        """What was kept; nothing where it is missing or damaged."""
        if self._folder is None:
            return self._kept.get(name, ())
        try:
            with np.load(self._path(name)) as file:
                return [file[key] for key in file.files]
        except FileNotFoundError:
            return ()
        except (OSError, ValueError, EOFError, zipfile.BadZipFile):
            self._path(name).unlink(missing_ok=True)  # measured again where it is prepared again
            return ()


class _Sums:
    """Adds rows up to moments; they are shifted by the first rows' mean, so that little cancels out."""

    def __init__(self) -> None:
        self._count = 0
        self._shift: Floats = np.zeros((0, 0), np.float32)
        self._sum = np.zeros((0, 0))
        self._blocks: list[Floats] = []
        self._finite = True

    @property
    def nbytes(self) -> int:
        return sum(block.nbytes for block in self._blocks)

    def add(self, found: Floats) -> None:
        """(groups, rows, n)."""
        groups, count, n = found.shape
        if not count or not self._finite:
            return
        if not np.isfinite(found).all():
            self._finite, self._blocks = False, []
            return
        if not self._count:
            self._shift = found.mean(axis=1)
            self._sum = np.zeros((groups, n))
            self._blocks = [np.zeros((groups, b - a, b - a), np.float32) for a, b in bounds(n)]
        found = found - self._shift[:, None]
        self._sum += found.sum(axis=1, dtype=np.float64)
        for block, (start, stop) in zip(self._blocks, bounds(n), strict=True):
            part = found[:, :, start:stop]
            block += part.transpose(0, 2, 1) @ part
        self._count += count

    def moments(self) -> list[Floats]:
        """The mean, then the covariances; nothing where there was no row, or one that is not finite."""
        if not self._count or not self._finite:
            return []
        rest = (self._sum / self._count).astype(np.float32)
        blocks = []
        for block, (start, stop) in zip(self._blocks, bounds(rest.shape[1]), strict=True):
            part = rest[:, start:stop]
            blocks.append(block / np.float32(self._count) - part[:, :, None] * part[:, None, :])
        return [self._shift + rest, *blocks]


def bounds(n: int) -> list[tuple[int, int]]:
    """First and last-but-one of each block of n inputs."""
    edges = np.linspace(0, n, -(-n // BLOCK) + 1).astype(int).tolist()
    return list(pairwise(edges))


def rows(values: Floats, geometry: Geometry | None, count: int, seed: int) -> Floats:
    """At most `count` rows that a layer reads of one sample, drawn with `seed`: (groups, rows, n).

    Args:
        values: (N, C, ...) for a Conv, else (..., n).
        geometry: Of the Conv; None for a product.

    Source: ONNX Conv-11, of which each row is one window, in the order of the weights.
    """
    if geometry is None:
        flat = values.reshape(-1, values.shape[-1])
        return flat[_drawn(len(flat), count, seed)][None]
    axes = len(geometry.kernel)
    padded = np.pad(values, [(0, 0), (0, 0), *zip(geometry.begins, geometry.ends, strict=True)])
    spans = [d * (k - 1) + 1 for d, k in zip(geometry.dilations, geometry.kernel, strict=True)]
    places = [
        max(0, (size - span) // stride + 1)
        for size, span, stride in zip(padded.shape[2:], spans, geometry.strides, strict=True)
    ]
    total = int(np.prod(places)) * len(values)
    which = np.unravel_index(_drawn(total, count, seed), (len(values), *places))
    index: list[Any] = [which[0].reshape(-1, *[1] * axes), slice(None)]
    for axis, kernel in enumerate(geometry.kernel):
        taps = geometry.strides[axis] * which[axis + 1][:, None] + geometry.dilations[axis] * np.arange(
            kernel
        )
        index.append(taps.reshape(-1, *[kernel if i == axis else 1 for i in range(axes)]))
    windows: Floats = np.moveaxis(padded[tuple(index)], -1, 1)
    return windows.reshape(len(which[0]), geometry.group, -1).transpose(1, 0, 2)


def _drawn(total: int, count: int, seed: int) -> NDArray[np.int64]:
    if total <= count:
        return np.arange(total)
    return np.sort(np.random.default_rng(seed).choice(total, count, replace=False))


def _extremes(values: Floats) -> tuple[Floats, Floats]:
    others = tuple(axis for axis in range(values.ndim) if axis != 1)
    return values.min(axis=others), values.max(axis=others)


def _name(what: Reads | str) -> str:
    return f"channels {what}" if isinstance(what, str) else f"reads {what}"
