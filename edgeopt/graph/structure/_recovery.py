"""Refits the layers of a changed model by least squares, so that they compute what they did before.

Layer by layer, in the order in which they depend on each other: for a layer that computed y = W x in the
original and reads z in the changed model, in which the layers before it are refitted already,

    W', d = argmin  sum |W x - W' z - d|^2 + r |W' - W_0|^2

over the calibration samples, where W_0 are those of its weights that are left, and d is added to its bias.
r is chosen by what one half of the samples says of the other; where no refit is better there, W_0 stays. Rows
of a convolution are windows of its input. Samples are run one by one, and sums are kept in float64: memory
is that of the matrices, and of what `_stream` keeps.

Where W x goes into a residual sum with s, which is t in the changed model, W x + s - t stands in place of
W x: what was lost before the sum (a block that was left out) is made up for by layers that still add to it.

Where a change moved the layer to a coarser grid (a smaller input), W x is brought there by averaging.

A layer with more than `MOST_INPUTS` columns is not refitted whole: each output gets a factor and a shift.
Does not refit grouped convolutions (but depthwise ones), ConvTranspose and bidirectional recurrences.

Source: He, Zhang & Sun 2017 (arXiv:1707.06168), section 3.1, for the reconstruction; Hoerl & Kennard 1970.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from itertools import islice

import numpy as np
import onnx_ir as ir
from numpy.typing import NDArray

from edgeopt.graph.calibration import Samples
from edgeopt.graph.constants import constant_of
from edgeopt.graph.editing import input_at
from edgeopt.graph.moments import Reads, rows
from edgeopt.graph.reading import read_by
from edgeopt.graph.structure import _bias
from edgeopt.graph.structure._channels import Numbers, is_constant, shape_of
from edgeopt.graph.structure._fingerprints import Fingerprints
from edgeopt.graph.structure._groups import rows_of
from edgeopt.graph.structure._kept import Kept
from edgeopt.graph.structure._knowledge import Knowledge
from edgeopt.graph.structure._resampling import resampled
from edgeopt.graph.structure._residual import Sum, sum_behind
from edgeopt.graph.structure._stream import Stream, Tensors
from edgeopt.graph.structure._weights import Doubles, Matrix, matrices

MOST_INPUTS = 1536
ROWS = 8192
"""Of a layer that are looked at, evenly taken from the samples."""
MOST_SAMPLES = 256
RIDGES = (1e-5, 1e-4, 1e-3, 1e-2, 1e-1, 1.0, 10.0, 1e3)
"""Times the mean energy of a column. The largest leaves little but the shift to be fitted."""


@dataclass(slots=True)
class Refit:
    """A layer that is to be refitted.

    Attributes:
        now: Its matrix in the changed model.
        then: In the original.
        rows: Of the original's matrix that are left; None for all.
        shifts: Whether there is a place for d.
        level: Layers of one level do not depend on each other.
        beside: What the sums behind it add in the original and in the changed model, if there are such sums.
    """

    now: Matrix
    then: Matrix
    rows: Numbers | None
    shifts: bool
    level: int
    beside: tuple[str, Sum] | None = None

    @property
    def grid(self) -> tuple[int, ...] | None:
        """The changed layer's, (N, ...) without channels, where the original's is another; None: the same."""
        now, then = (
            (shape[0], *shape[2:]) if one.node.op_type == "Conv" else shape[:-1]
            for one in (self.now, self.then)
            for shape in (shape_of(one.node.outputs[0]),)
        )
        return None if now == then else now

    @property
    def tensors_then(self) -> list[str]:
        """Of the original, what is needed: the layer's input, or its output where the grid is another."""
        output = str(self.then.node.outputs[0].name)
        needed = self.then.reads.tensor if self.grid is None else output
        return [needed, *([self.beside[0]] if self.beside else [])]

    @property
    def tensors_now(self) -> list[str]:
        """Of the changed model, what is needed."""
        return [self.now.reads.tensor, *([str(self.beside[1].other.name)] if self.beside else [])]


def recover(model: ir.Model, knowledge: Knowledge, part: Samples, kept: Kept) -> None:
    """Refit all layers whose inputs are not what they were, in place.

    Args:
        model: Made from `knowledge.graph` by changes.
        part: Calibration samples.
        kept: Where results are kept by all that they depend on.

    Raises:
        ModelError: The runtime refuses the changed model.
        CandidateFailed: It cannot compute a sample.
    """
    prints = Fingerprints(model.graph, knowledge.digest)
    wanted = refits(model.graph, knowledge)
    keys = {
        id(one): prints.of(one.now.node, one.now.index, one.beside[1] if one.beside else None)
        for one in wanted
    }
    streams: _Streams | None = None
    for level in sorted({one.level for one in wanted}):
        now = [one for one in wanted if one.level == level]
        found = {id(one): kept.get(keys[id(one)]) for one in now}
        new = [one for one in now if found[id(one)] is None]
        if new:
            streams = streams or _Streams(model, knowledge, wanted, part)
            for one, arrays in zip(new, streams.solved(new, level), strict=True):
                found[id(one)] = kept.put(keys[id(one)], arrays)
        for one in now:
            values, shift = found[id(one)] or (np.zeros(0), np.zeros(0))
            if values.size:
                one.now.store(model.graph, values)
            if shift.size:
                _bias.add(model.graph, one.now.node, shift)


def refits(graph: ir.Graph, knowledge: Knowledge) -> list[Refit]:
    """The layers whose inputs are not what they were, in topological order."""
    found: list[Refit] = []
    changed: dict[ir.Value, int] = {}  # what is not as it was -> level of the last layer before it
    for node in graph:
        origin = knowledge.origin(node)
        levels = [changed[value] for value in node.inputs if value in changed]
        own = -1
        for now in matrices(node) if origin is not None else ():
            then = Matrix.of(origin, now.index) if origin is not None else None
            source = node.inputs[0] if now.index == 1 else node.outputs[0]
            is_other = source in changed or (now.index == 2 and (levels or rows_of(node) is not None))
            moved = then is not None and now.reads != then.reads
            if then is None or not (is_other or moved) or not _fits(now, then):
                continue
            own = max([*levels, own]) + 1  # the second matrix of a recurrence after the first
            beside = _beside(now, then, changed, own)
            found.append(Refit(now, then, rows_of(node), _bias.has_place(node, now.index), own, beside))
        if levels or origin is None or not _is_same(node, origin):
            for output in node.outputs:
                changed[output] = max([*levels, own])
    return found


def _beside(now: Matrix, then: Matrix, changed: Mapping[ir.Value, int], level: int) -> tuple[str, Sum] | None:
    """The sums behind a layer, if what the changed one adds is not what it was, and is settled already."""
    if now.node.op_type not in ("Conv", "MatMul", "Gemm") or len(now.values) > 1:
        return None
    after, before = sum_behind(now.node), sum_behind(then.node)
    if after is None or before is None or changed.get(after.other, -1) >= level:
        return None
    if after.other not in changed and after.other.name == before.other.name:
        return None
    return str(before.other.name), after


def _fits(now: Matrix, then: Matrix) -> bool:
    if now.node.op_type != "Conv":
        return True
    groups, then_groups = (one.reads.geometry.group if one.reads.geometry else 1 for one in (now, then))
    return (groups == 1 and then_groups == 1) or (now.values.shape[1:2] == (1,) and then.values.shape[1] == 1)


def _is_same(node: ir.Node, origin: ir.Node) -> bool:
    """Whether a node computes what it did, if it reads what it did."""
    return (
        node.op_type == origin.op_type
        and len(node.inputs) == len(origin.inputs)
        and all(
            (a is None and b is None)
            or (a is not None and b is not None and a.name == b.name and a.const_value is b.const_value)
            for a, b in zip(node.inputs, origin.inputs, strict=True)
        )
    )


class _Streams:
    """The original and the changed model on their way through the same samples."""

    def __init__(self, model: ir.Model, knowledge: Knowledge, wanted: Sequence[Refit], part: Samples) -> None:
        self.count = sum(1 for _ in islice(part.samples(), MOST_SAMPLES))
        self._then = Stream(knowledge.graph, part, self.count)
        self._now = Stream(model, part, self.count)
        self._levels_then = _levels(knowledge.graph.graph, {one.then.node: one.level for one in wanted})
        self._levels_now = _levels(model.graph, {one.now.node: one.level for one in wanted})

    def solved(self, wanted: Sequence[Refit], level: int) -> list[tuple[Doubles, Doubles]]:
        """New weights and shifts; empty where the old ones stay."""
        sums = [_Sums(one) for one in wanted]
        share = -(-ROWS // max(self.count, 1))
        before = self._then.run(
            (name for one in wanted for name in one.tensors_then),
            lambda node: self._levels_then[node] < level,
        )
        after = self._now.run(
            (name for one in wanted for name in one.tensors_now), lambda node: self._levels_now[node] < level
        )
        for number, (original, changed) in enumerate(zip(before, after, strict=True)):
            for one in sums:
                one.add(original, changed, share, number)
        return [one.solution() for one in sums]


def _levels(graph: ir.Graph, own: Mapping[ir.Node, int]) -> dict[ir.Node, int]:
    """The highest level of a node and of all that it depends on; -1 where there is none."""
    found: dict[ir.Node, int] = {}
    for node in graph:
        producers = (value.producer() for value in read_by(node))
        before = [found[producer] for producer in producers if producer in found]
        found[node] = max([own.get(node, -1), *before])
    return found


@dataclass(slots=True)
class _Sums:
    """What least squares needs of one layer, for the two halves of the samples.

    With z the inputs, and a 1 behind them where a shift is fitted: sums of z z' (g, n, n) and y z' (g, m, n).
    """

    refit: Refit
    _exact: Doubles = field(init=False)
    _left: Doubles = field(init=False)
    _is_whole: bool = field(init=False)
    _squares: list[Doubles] = field(init=False)
    _products: list[Doubles] = field(init=False)
    _counts: list[int] = field(init=False)

    def __post_init__(self) -> None:
        exact, rows_left = self.refit.then.values, self.refit.rows
        if rows_left is not None:
            exact = exact[rows_left] if len(exact) > 1 else exact[:, rows_left]
        self._exact, self._left = exact, self.refit.now.values
        groups, m, n = self._left.shape
        self._is_whole = n <= MOST_INPUTS
        if not self._is_whole:
            groups, m, n = m, 1, 1
        width = n + self.refit.shifts
        self._squares = [np.zeros((groups, width, width)) for _ in range(2)]
        self._products = [np.zeros((groups, m, width)) for _ in range(2)]
        self._counts = [0, 0]

    def add(
        self,
        before: Tensors,
        after: Tensors,
        count: int,
        number: int,
    ) -> None:
        """One sample's tensors, of which `count` rows are taken."""
        z = _rows(self.refit.now.reads, after, count, number)
        y = self._wanted(before, count, number)
        if self.refit.beside is not None:
            y = y + self._missing(self.refit.beside, before, after, count, number)
        if not self._is_whole:
            z = (z @ self._left.transpose(0, 2, 1))[0].T[:, :, None]
            y = y[0].T[:, :, None]
        if self.refit.shifts:
            z = np.concatenate([z, np.ones((*z.shape[:2], 1))], axis=2)
        half = number % 2
        self._squares[half] += z.transpose(0, 2, 1) @ z
        self._products[half] += y.transpose(0, 2, 1) @ z
        self._counts[half] += z.shape[1]

    def _wanted(self, before: Tensors, count: int, number: int) -> Doubles:
        """W x: (g, rows, m)."""
        then, grid, left = self.refit.then, self.refit.grid, self.refit.rows
        if grid is None:
            x = _rows(then.reads, before, count, number)
            if len(x) > 1 and left is not None:
                x = x[left]
            y: Doubles = x @ self._exact.transpose(0, 2, 1)
            return y
        maps = _channels_last(then.node, before[str(then.node.outputs[0].name)])
        bias = input_at(then.node, 2)
        if bias is not None and is_constant(bias):
            maps = maps - constant_of(bias).astype(np.float64)
        if left is not None:
            maps = maps[..., left]
        flat = rows(np.asarray(resampled(maps, (*grid, maps.shape[-1])), np.float32), None, count, number)[0]
        groups, m, _ = self._exact.shape
        found: Doubles = flat.reshape(-1, groups, m).transpose(1, 0, 2).astype(np.float64)
        return found

    def _missing(
        self, beside: tuple[str, Sum], before: Tensors, after: Tensors, count: int, number: int
    ) -> Doubles:
        """What the sum behind the layer lacks, in the layer's own outputs: (1, rows, m)."""
        lost = []
        for tensor in (before[beside[0]], after[str(beside[1].other.name)]):
            last = _channels_last(self.refit.now.node, tensor)
            last = resampled(last, (*(self.refit.grid or last.shape[:-1]), last.shape[-1]))
            lost.append(rows(np.asarray(last, np.float32), None, count, number).astype(np.float64))
        exact = lost[0] if self.refit.rows is None else lost[0][:, :, self.refit.rows]
        missing: Doubles = (exact - lost[1]) / beside[1].scale
        return missing

    def solution(self) -> tuple[Doubles, Doubles]:
        """The new matrix and the shift; empty where the old ones stay."""
        nothing = np.zeros(0), np.zeros(0)
        old = self._left if self._is_whole else np.ones((*self._products[0].shape[:2], 1))
        if self.refit.shifts:
            old = np.concatenate([old, np.zeros((*old.shape[:2], 1))], axis=2)
        if not all(np.isfinite(part).all() for part in (*self._squares, *self._products)):
            return nothing
        if not min(self._counts):
            return nothing
        costs = dict.fromkeys(RIDGES, 0.0)
        untouched = 0.0
        for half in (0, 1):
            untouched += _cost(old, self._squares[1 - half], self._products[1 - half])
            for ridge in RIDGES:
                fitted = self._fit(old, self._squares[half], self._products[half], ridge)
                costs[ridge] += _cost(fitted, self._squares[1 - half], self._products[1 - half])
        best = min(RIDGES, key=lambda ridge: costs[ridge])
        if not costs[best] < untouched:
            return nothing
        both = sum(self._squares[1:], self._squares[0]), sum(self._products[1:], self._products[0])
        fitted = self._fit(old, *both, best)
        shift = fitted[:, :, -1].reshape(-1) if self.refit.shifts else np.zeros(0)
        values = fitted[:, :, :-1] if self.refit.shifts else fitted
        return (values if self._is_whole else self._left * values.reshape(1, -1, 1)), shift

    def _fit(self, old: Doubles, squares: Doubles, products: Doubles, ridge: float) -> Doubles:
        width = squares.shape[-1]
        n = width - self.refit.shifts
        energy = np.einsum("gii->gi", squares)[:, :n].mean(axis=1)
        damping = np.zeros((len(squares), width))
        damping[:, :n] = (ridge * np.where(energy > 0, energy, 1.0))[:, None]
        damped = squares + damping[:, :, None] * np.eye(width)
        damped += 1e-12 * np.einsum("gii->g", damped)[:, None, None] * np.eye(width)
        missing = products - old @ squares
        fitted: Doubles = old + np.linalg.solve(damped, missing.transpose(0, 2, 1)).transpose(0, 2, 1)
        return fitted


def _cost(values: Doubles, squares: Doubles, products: Doubles) -> float:
    """Of the error's energy, what depends on the weights."""
    return float(((values @ squares - 2 * products) * values).sum())


def _channels_last(layer: ir.Node, tensor: NDArray[np.generic]) -> Doubles:
    last = np.moveaxis(tensor, 1, -1) if layer.op_type == "Conv" else tensor
    return np.asarray(last, np.float64)


def _rows(reads: Reads, tensors: Tensors, count: int, seed: int) -> Doubles:
    return rows(np.asarray(tensors[reads.tensor], np.float32), reads.geometry, count, seed).astype(np.float64)
