"""Roll an unrolled chain of LSTM cells back into one LSTM operator.

    i, f, o = sigmoid(x W + h R + b), g = tanh(...);   c' = f c + i g;   h' = o tanh(c')

Before:
    for every step: Gemm or MatMul of the step's input and of the state before, Add, Split into four gates,
    Sigmoid, Tanh, Mul, Add; of any length
After:
    LSTM(sequence, W, R, B, , h, c), and Gathers for the steps that are read

Weights: W is (1, 4 * H, I), R is (1, 4 * H, H), B is (1, 8 * H), gates in the order i, o, f, c, whatever
order they had. Steps that are taken from one sequence in order, or in reverse, read that sequence
(direction=reverse); others are joined by a Concat.

Does not apply when:
    - the cells differ in weights, or there is only one,
    - a gate, or a cell state between two cells, is read elsewhere too,
    - an input depends on a state before it (a decoder that feeds itself),
    - states are not float32 matrices of known shape.

Source: ONNX LSTM-14; Hochreiter & Schmidhuber 1997, with forget gates (Gers et al. 2000).
"""

from __future__ import annotations

import numpy as np
import onnx_ir

from edgeopt.graph.constants import add_initializer
from edgeopt.graph.editing import Piece, before, piece_of
from edgeopt.graph.flops import sizes
from edgeopt.graph.matching import Found, Refusal
from edgeopt.graph.recurrence import Cell, affine, chain_of, rolled, row, stacked
from edgeopt.graph.rewrites import Example

ORDER = 8
EXACT = True
RTOL = 1e-5


class RollLstm:
    """The end of a chain of LSTM cells."""

    def find(self, model: onnx_ir.Model, node: onnx_ir.Node) -> Found | Refusal | None:
        """See `edgeopt.graph.rewrites.Rule`."""
        if node.op_type != "Mul" or node.domain or _pair(node) is None:
            return None
        cells = _parse(node)
        if not cells or any(_goes_on(cell) for cell in cells):
            return None
        graph = model.graph
        return rolled(model, chain_of(cells, _parse), lambda cell: _operator(graph, cell))


def _pair(node: onnx_ir.Node) -> tuple[onnx_ir.Node, onnx_ir.Node] | None:
    """The Sigmoid and the Tanh that a Mul multiplies."""
    for one, other in (node.inputs, node.inputs[::-1]):
        sigmoid, tanh = before(one, {"Sigmoid"}), before(other, {"Tanh"})
        if sigmoid is not None and tanh is not None:
            return sigmoid, tanh
    return None


def _parse(node: onnx_ir.Node | None) -> list[Cell]:
    """The cells whose last node this may be: x and h can be told apart by the chain only."""
    pair = _pair(node) if node is not None and node.op_type == "Mul" else None
    total = before(pair[1].inputs[0], {"Add"}) if pair is not None else None
    if node is None or pair is None or total is None:
        return []
    for first, second in (total.inputs, total.inputs[::-1]):
        written, kept = before(first, {"Mul"}), before(second, {"Mul"})
        inner = _pair(written) if written is not None else None
        if written is None or kept is None or inner is None:
            continue
        for gate, state in (kept.inputs, kept.inputs[::-1]):
            forget = before(gate, {"Sigmoid"})
            if forget is not None and state is not None:
                functions = (inner[0], pair[0], forget, inner[1])  # i, o, f, c
                nodes = {node, *pair, total, written, kept, *inner, forget}
                if cells := _cells(functions, nodes, node.outputs[0], total.outputs[0], state):
                    return cells
    return []


def _cells(
    functions: tuple[onnx_ir.Node, ...],
    nodes: set[onnx_ir.Node],
    h: onnx_ir.Value,
    c: onnx_ir.Value,
    before_c: onnx_ir.Value,
) -> list[Cell]:
    shape, pieces = sizes(h), [piece_of(function.inputs[0]) for function in functions]
    gates = [piece for piece in pieces if piece is not None]
    if shape is None or len(gates) < len(pieces) or len({(gate.source, gate.axis) for gate in gates}) != 1:
        return []
    hidden, width = shape[-1], 4 * shape[-1]
    if not _covers(gates, hidden, width) or gates[0].axis != len(shape) - 1:
        return []
    sums = affine(gates[0].source)
    if sums is None or len(sums.terms) != 2 or np.size(sums.bias) not in (1, width):
        return []
    cutting = {producer for function in functions if (producer := _producer(function)) is not None}
    starts = tuple(gate.start for gate in gates)
    bias = (row(sums.bias, width), np.zeros(width))
    every = frozenset(nodes | cutting | sums.nodes)
    return [
        Cell(h, c, (back.x, before_c), x.x, (x, back), bias, starts, every)
        for x, back in (sums.terms, sums.terms[::-1])
        if back.stop - back.start == hidden
    ]


def _covers(gates: list[Piece], hidden: int, width: int) -> bool:
    ranges = sorted((gate.start, gate.stop) for gate in gates)
    return ranges == [(start, start + hidden) for start in range(0, width, hidden)]


def _producer(function: onnx_ir.Node) -> onnx_ir.Node | None:
    return function.inputs[0].producer() if function.inputs[0] is not None else None


def _goes_on(cell: Cell) -> bool:
    """Whether a further cell takes this one's state."""
    if cell.c is None:
        return False
    for kept in _readers(cell.c, "Mul"):
        for total in _readers(kept.outputs[0], "Add"):
            for tanh in _readers(total.outputs[0], "Tanh"):
                for last in _readers(tanh.outputs[0], "Mul"):
                    if any(each.previous == (cell.h, cell.c) and each.is_like(cell) for each in _parse(last)):
                        return True
    return False


def _readers(value: onnx_ir.Value, operator: str) -> list[onnx_ir.Node]:
    return [reader for reader, _ in value.uses() if reader.op_type == operator and not reader.domain]


def _operator(graph: onnx_ir.Graph, cell: Cell) -> onnx_ir.Node:
    hidden, name = (sizes(cell.h) or (0, 0))[-1], str(cell.h.name)
    x, back = (stacked(term.matrix(), cell.starts, hidden) for term in cell.weights)
    biases = np.concatenate([stacked(bias[None], cell.starts, hidden)[..., 0] for bias in cell.biases], -1)
    weights = [
        add_initializer(graph, f"{name}_{key}", np.asarray(array, np.float32))
        for key, array in (("W", x), ("R", back), ("B", biases))
    ]
    attributes = [onnx_ir.AttrInt64("hidden_size", hidden)]
    return onnx_ir.Node("", "LSTM", [None, *weights], attributes, num_outputs=3)


RULES = (RollLstm(),)

_CELL = """
  g{n} = Gemm <transB = 1> (h{p}, r, b) i{n} = Gemm <transB = 1> (x{n}, w)  s{n} = Add(g{n}, i{n})
  gi{n}, gf{n}, gc{n}, go{n} = Split <axis = 1> (s{n}, parts)
  si{n} = Sigmoid(gi{n}) sf{n} = Sigmoid(gf{n}) tc{n} = Tanh(gc{n}) so{n} = Sigmoid(go{n})
  kept{n} = Mul(sf{n}, c{p}) new{n} = Mul(si{n}, tc{n}) c{n} = Add(kept{n}, new{n})
  t{n} = Tanh(c{n}) h{n} = Mul(so{n}, t{n})
"""


def _example(
    order: tuple[int, ...],
    end: str,
    becomes: tuple[str, ...] | None,
    reason: str = "",
    out: str = "float[1,2] h3",
) -> Example:
    steps = "".join(f"x{n} = Gather <axis = 0> (x, step{at})" for n, at in zip((1, 2, 3), order, strict=True))
    cells = "".join(_CELL.format(n=n, p=n - 1) for n in (1, 2, 3))
    numbers = ", ".join(str(round(np.sin(n), 2)) for n in range(16))
    others = ", ".join(str(round(np.cos(n), 2)) for n in range(16))
    return Example(
        f"""<ir_version: 8, opset_import: ["": 17]>
        agraph (float[3,1,2] x, float[1,2] h0, float[1,2] c0) => ({out})
        <int64 step0 = {{0}}, int64 step1 = {{1}}, int64 step2 = {{2}}, int64[4] parts = {{2, 2, 2, 2}},
         float[8,2] w = {{{numbers}}}, float[8,2] r = {{{others}}}, float[8] b = {{1, 2, 3, 4, 5, 6, 7, 8}}>
        {{ {steps} {cells} {end} }}""",
        becomes,
        reason,
    )


_STATES = ("Reshape", "Reshape", "LSTM", "Reshape")

EXAMPLES = (
    _example((0, 1, 2), "", (*_STATES, "Gather")),
    _example((2, 1, 0), "y = Concat <axis = 0> (h1, h2, h3)",
             (*_STATES, "Gather", "Gather", "Gather", "Concat"), out="float[3,2] y"),
    _example((0, 2, 1), "", ("Gather",) * 3 + ("Reshape",) * 3 + ("Concat", *_STATES, "Gather")),
    _example((0, 1, 2), "y = Neg(c3)", (*_STATES, "Gather", "Reshape", "Neg"),
             out="float[1,2] h3, float[1,2] y"),
    _example((0, 1, 2), "y = Neg(c2)", None, "read elsewhere", out="float[1,2] h3, float[1,2] y"),
    _example((0, 1, 2), "y = Neg(gi2)", None, "read elsewhere", out="float[1,2] h3, float[1,2] y"),
)  # fmt: skip
