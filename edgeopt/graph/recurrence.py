"""Finds chains of recurrent cells that share their weights, and writes them as one recurrent operator."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field

import numpy as np
import onnx_ir
from numpy.typing import NDArray

from edgeopt.graph.constants import add_initializer, array_of
from edgeopt.graph.editing import (
    before,
    made,
    made_reshape,
    made_slice,
    made_transpose,
    piece_of,
    slice_ranges,
)
from edgeopt.graph.flops import sizes
from edgeopt.graph.matching import Found, Refusal, splice
from edgeopt.graph.reading import read_by

MIN_CELLS = 2
MAX_CELLS = 4_096


@dataclass(frozen=True, slots=True)
class Term:
    """`x @ M`: rows `[start, stop)` of a constant, or of its transpose."""

    x: onnx_ir.Value
    weight: onnx_ir.Value
    transposed: bool
    start: int
    stop: int

    def matrix(self) -> NDArray[np.generic]:
        """`(input, outputs)`."""
        array = _constant(self.weight)
        if array is None:
            raise ValueError(f"{self.weight.name} is not constant")
        return (array.T if self.transposed else array)[self.start : self.stop]

    def is_like(self, other: Term) -> bool:
        """Whether another value is multiplied with the same numbers."""
        if self.weight is other.weight:
            mine = (self.transposed, self.start, self.stop)
            return mine == (other.transposed, other.start, other.stop)
        return np.array_equal(self.matrix(), other.matrix())


@dataclass
class Affine:
    """A sum of products and constants: the gates of a cell before their functions."""

    terms: list[Term] = field(default_factory=list)
    bias: NDArray[np.float64] | float = 0.0
    nodes: set[onnx_ir.Node] = field(default_factory=set)


@dataclass(frozen=True, slots=True)
class Cell:
    """One step of a recurrence.

    Attributes:
        h: What it gives to the next cell; `c` as well, for an LSTM.
        previous: What it takes from the cell before, in the same order.
        x: What it reads besides.
        weights: Products with x, and with the state before.
        biases: One per product, in the layout of the gates' sums.
        starts: Where each gate begins in those sums, in the order of the ONNX operator.
        nodes: All that the operator takes the place of.
    """

    h: onnx_ir.Value
    c: onnx_ir.Value | None
    previous: tuple[onnx_ir.Value, ...]
    x: onnx_ir.Value
    weights: tuple[Term, Term]
    biases: tuple[NDArray[np.float64], NDArray[np.float64]]
    starts: tuple[int, ...]
    nodes: frozenset[onnx_ir.Node]

    def is_like(self, other: Cell) -> bool:
        """Whether another cell computes the same function."""
        return (
            self.starts == other.starts
            and all(a.is_like(b) for a, b in zip(self.weights, other.weights, strict=True))
            and all(np.array_equal(a, b) for a, b in zip(self.biases, other.biases, strict=True))
        )


Parse = Callable[[onnx_ir.Node | None], list[Cell]]
"""The cells that the node which computes `h` may be the end of: more than one where x and h look alike."""


def affine(value: onnx_ir.Value | None, depth: int = 0) -> Affine | None:
    """Read a value as products with constants, and their sum; None for anything else."""
    found = before(value, {"Add", "Gemm", "MatMul"})
    if found is None or value is None or depth > 6:
        return None
    if found.op_type == "Add":
        left, right = (_side(each, depth) for each in found.inputs)
        if left is None or right is None:
            return None
        bias = np.asarray(left.bias) + np.asarray(right.bias)
        return Affine(left.terms + right.terms, bias, left.nodes | right.nodes | {found})
    x, weight = found.inputs[0], found.inputs[1]
    array = _constant(weight)
    if x is None or weight is None or array is None or array.ndim != 2 or array.dtype != np.float32:
        return None
    bias = np.asarray(0.0)
    if found.op_type == "Gemm":
        scales = [found.attributes.get_float(name, 1.0) for name in ("alpha", "beta")]
        if scales != [1.0, 1.0] or found.attributes.get_int("transA", False):
            return None
        if len(found.inputs) > 2 and found.inputs[2] is not None:
            given = _constant(found.inputs[2])
            if given is None or given.size != max(given.shape[-1:], default=1):
                return None
            bias = given.astype(np.float64).reshape(-1)
    transposed = found.op_type == "Gemm" and bool(found.attributes.get_int("transB", False))
    return Affine(_terms(x, weight, transposed, array.shape[int(transposed)]), bias, {found})


def _side(value: onnx_ir.Value | None, depth: int) -> Affine | None:
    array = _constant(value)
    if array is None:
        return affine(value, depth + 1)
    row = array.size == max(array.shape[-1:], default=1)
    return Affine([], array.astype(np.float64).reshape(-1)) if row and array.dtype == np.float32 else None


def _terms(x: onnx_ir.Value, weight: onnx_ir.Value, transposed: bool, rows: int) -> list[Term]:
    """One product, or one for each part of a Concat along the last axis."""
    joined = before(x, {"Concat"})
    shapes = [sizes(value) for value in joined.inputs] if joined is not None else []
    rank = len(x.shape) if x.shape is not None else 0
    if joined is None or None in shapes or joined.attributes.get_int("axis", 0) not in (-1, rank - 1):
        return [Term(x, weight, transposed, 0, rows)]
    ends = np.cumsum([shape[-1] for shape in shapes if shape is not None])
    begins = [0, *ends[:-1]]
    return [
        Term(value, weight, transposed, int(begin), int(end))
        for value, begin, end in zip(joined.inputs, begins, ends, strict=True)
        if value is not None
    ]


def _constant(value: onnx_ir.Value | None) -> NDArray[np.generic] | None:
    while (same := before(value, {"Identity"})) is not None:
        value = same.inputs[0]
    return array_of(value)


def chain_of(last: Sequence[Cell], parse: Parse) -> list[Cell]:
    """The cells of a chain that ends with one of the given readings, first to last; one cell: no chain."""
    for cell in last:
        cells = [cell]
        while len(cells) < MAX_CELLS:
            earlier = _before(cells[0], parse)
            if not earlier:
                break
            # Where both weights are equal, x and h look alike: the one that leads further back is h.
            cells.insert(0, next((each for each in earlier if _before(each, parse)), earlier[0]))
        if len(cells) >= MIN_CELLS:
            return cells
    return list(last[:1])


def _before(cell: Cell, parse: Parse) -> list[Cell]:
    """Readings of the cell that gives this one its state."""
    return [
        each
        for each in parse(cell.previous[0].producer())
        if (each.h, each.c)[: len(cell.previous)] == cell.previous and each.is_like(cell)
    ]


def rolled(
    model: onnx_ir.Model, cells: list[Cell], operator: Callable[[Cell], onnx_ir.Node]
) -> Found | Refusal:
    """Replace a chain of cells.

    Args:
        operator: Makes the node from a cell's weights, without its first input and its initial states.
    """
    if len(cells) < MIN_CELLS:
        return Refusal("it is one cell, not a chain of cells with the same weights")
    nodes = {node for cell in cells for node in cell.nodes}
    shapes = {(sizes(cell.h), sizes(cell.x)) for cell in cells}
    if len(shapes) != 1 or any(shape is None or len(shape) != 2 for shape in next(iter(shapes))):
        return Refusal("states and inputs are not matrices of known shape")
    states = {cell.h for cell in cells} | {value for value in (cells[-1].c,) if value is not None}
    for node in nodes:
        for output in node.outputs:
            if output not in states and (
                output.is_graph_output() or any(r not in nodes for r, _ in output.uses())
            ):
                return Refusal("a gate or a state between two cells is read elsewhere too")
    if not any(state.is_graph_output() or any(r not in nodes for r, _ in state.uses()) for state in states):
        return Refusal("nothing reads its states")
    if _depends([cell.x for cell in cells] + list(cells[0].previous), nodes):
        return Refusal("an input of a cell depends on the state before: the rounds are not known ahead")
    ordered = tuple(node for node in model.graph if node in nodes)
    return Found(ordered, lambda: _roll(model.graph, ordered, cells, operator))


def _depends(values: Iterable[onnx_ir.Value], nodes: set[onnx_ir.Node]) -> bool:
    pending, seen = list(values), set()
    while pending:
        producer = pending.pop().producer()
        if producer is None or producer in seen:
            continue
        if producer in nodes:
            return True
        seen.add(producer)
        pending += read_by(producer)
    return False


def _roll(
    graph: onnx_ir.Graph,
    old: Sequence[onnx_ir.Node],
    cells: Sequence[Cell],
    operator: Callable[[Cell], onnx_ir.Node],
) -> Sequence[onnx_ir.Node]:
    root, first, last = old[-1], cells[0], cells[-1]
    batch, hidden = sizes(first.h) or (0, 0)
    name = str(last.h.name)
    new: list[onnx_ir.Node] = []
    sequence, backward = _sequence(graph, cells, new)
    node = operator(first)
    if backward:
        node.attributes["direction"] = onnx_ir.AttrString("direction", "reverse")
    node.replace_input_with(0, sequence)
    for index, state in enumerate(first.previous):
        if not _is_zero(state):
            new.append(made_reshape(graph, state, (1, batch, hidden), f"{name}_initial"))
            node.resize_inputs(6 + index)
            node.replace_input_with(5 + index, new[-1].outputs[0])
    new.append(node)
    for output, shape in zip(
        node.outputs, [(len(cells), 1, batch, hidden), *[(1, batch, hidden)] * 2], strict=False
    ):
        output.shape, output.type = onnx_ir.Shape(shape), onnx_ir.TensorType(onnx_ir.DataType.FLOAT)
    steps = made_reshape(graph, node.outputs[0], (len(cells), batch, hidden), f"{name}_steps")
    new.append(steps)
    given: dict[onnx_ir.Value, onnx_ir.Value] = {}
    for step, cell in enumerate(cells):
        if cell.h.is_graph_output() or any(reader not in old for reader, _ in cell.h.uses()):
            at = len(cells) - 1 - step if backward else step
            index_value = add_initializer(graph, f"{cell.h.name}_step", np.asarray(at, np.int64))
            axis = [onnx_ir.AttrInt64("axis", 0)]
            new.append(made("Gather", [steps.outputs[0], index_value], (batch, hidden), cell.h.dtype, axis))
            given[cell.h] = new[-1].outputs[0]
    if last.c is not None and (last.c.is_graph_output() or any(r not in old for r, _ in last.c.uses())):
        new.append(made_reshape(graph, node.outputs[2], (batch, hidden), f"{name}_cell"))
        given[last.c] = new[-1].outputs[0]
    splice(graph, root, old, new, list(given), list(given.values()))
    graph.sort()  # a state may be read before the last input is computed
    return new


def _sequence(
    graph: onnx_ir.Graph, cells: Sequence[Cell], new: list[onnx_ir.Node]
) -> tuple[onnx_ir.Value, bool]:
    """All inputs, `(steps, batch, features)`, and whether they are taken from the last to the first."""
    batch, features = sizes(cells[0].x) or (0, 0)
    name, steps = str(cells[-1].h.name), [_step(cell.x) for cell in cells]
    sources = {(step[0], step[1]) if step is not None else None for step in steps}
    at = [step[2] for step in steps if step is not None]
    count = len(cells)
    for backward in (False, True):
        run = at[::-1] if backward else at
        if None in sources or len(sources) != 1 or run != list(range(run[0], run[0] + count)):
            continue
        source, axis = next(iter(sources)) or (cells[0].x, 0)
        shape = sizes(source)
        if shape is None or shape[:axis] + shape[axis + 1 :] != (batch, features):
            continue
        if shape[axis] != count:
            new.append(made_slice(graph, source, axis, run[0], run[0] + count, f"{name}_sequence"))
            source = new[-1].outputs[0]
        if axis:
            new.append(made_transpose(source, [axis, *(other for other in range(3) if other != axis)]))
            source = new[-1].outputs[0]
        return source, backward
    parts = [made_reshape(graph, cell.x, (1, batch, features), f"{name}_input") for cell in cells]
    joined = made(
        "Concat", [part.outputs[0] for part in parts], (count, batch, features), cells[0].x.dtype,
        [onnx_ir.AttrInt64("axis", 0)],
    )  # fmt: skip
    new += [*parts, joined]
    return joined.outputs[0], False


def _step(value: onnx_ir.Value) -> tuple[onnx_ir.Value, int, int] | None:
    """The sequence, axis and index that a value is one step of: of what a Slice turned round, if one did."""
    step = _direct_step(value)
    turned = before(step[0], {"Slice"}) if step is not None else None
    if step is None or turned is None or turned.inputs[0] is None:
        return step
    ranges, (_, axis, index) = slice_ranges(turned) or {}, step
    return (turned.inputs[0], axis, ranges[axis][index]) if list(ranges) == [axis] else step


def _direct_step(value: onnx_ir.Value) -> tuple[onnx_ir.Value, int, int] | None:
    taken = before(value, {"Gather", "Squeeze", "Reshape"})
    if taken is None or taken.inputs[0] is None:
        return None
    if taken.op_type == "Gather":
        source, index = sizes(taken.inputs[0]), array_of(taken.inputs[1])
        if source is None or index is None or index.shape != ():
            return None
        axis = taken.attributes.get_int("axis", 0) % len(source)
        return taken.inputs[0], axis, int(index) % source[axis]
    piece = piece_of(taken.inputs[0])
    if piece is None or piece.stop - piece.start != 1:
        return None
    return piece.source, piece.axis, piece.start


def _is_zero(value: onnx_ir.Value) -> bool:
    array = array_of(value)
    if (fill := before(value, {"ConstantOfShape"})) is not None:
        given = fill.attributes.get("value")
        array = np.zeros(1) if given is None else np.asarray(given.as_tensor().numpy())
    return array is not None and not array.any()


def row(bias: NDArray[np.float64] | float, width: int) -> NDArray[np.float64]:
    """A bias of one number for each of `width` sums."""
    return np.broadcast_to(np.asarray(bias, np.float64).reshape(-1), (width,))


def stacked(array: NDArray[np.generic], starts: Sequence[int], hidden: int) -> NDArray[np.float32]:
    """Columns of the gates in the operator's order, as rows: `(1, gates * hidden, ...)`."""
    parts = [array[..., start : start + hidden] for start in starts]
    return np.ascontiguousarray(np.concatenate(parts, -1).T[None]).astype(np.float32)
