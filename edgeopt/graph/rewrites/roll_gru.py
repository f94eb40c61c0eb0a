"""Roll an unrolled chain of GRU cells back into one GRU operator.

    r, z = sigmoid(x W + h R + b);   n = tanh(x Wn + bn + r (h Rn + cn));   h' = (1 - z) n + z h

Before:
    for every step: Gemm or MatMul of the step's input and of the state before, Split of both into three
    gates, Add, Sigmoid, Mul, Tanh, and h' as above or as n + z (h - n); of any length
After:
    GRU(sequence, W, R, B, , h; linear_before_reset=1), and Gathers for the steps that are read

Weights: W is (1, 3 * H, I), R is (1, 3 * H, H), B is (1, 6 * H), gates in the order z, r, h, whatever order
they had. Steps that are taken from one sequence in order, or in reverse, read that sequence
(direction=reverse); others are joined by a Concat.

Does not apply when:
    - the cells differ in weights, or there is only one,
    - a gate is read elsewhere too,
    - an input depends on a state before it (a decoder that feeds itself),
    - states are not float32 matrices of known shape.

Source: ONNX GRU-14 (linear_before_reset=1); Cho et al. 2014, as in cuDNN and PyTorch.
"""

from __future__ import annotations

import numpy as np
import onnx_ir

from edgeopt.graph.constants import add_initializer, scalar_of
from edgeopt.graph.editing import Piece, before, piece_of
from edgeopt.graph.flops import sizes
from edgeopt.graph.matching import Found, Refusal
from edgeopt.graph.recurrence import Cell, affine, chain_of, rolled, row, stacked
from edgeopt.graph.rewrites import Example

ORDER = 8
EXACT = True
RTOL = 1e-5

_Swapped = tuple[tuple[onnx_ir.Value | None, onnx_ir.Value | None], ...]


class RollGru:
    """The end of a chain of GRU cells."""

    def find(self, model: onnx_ir.Model, node: onnx_ir.Node) -> Found | Refusal | None:
        """See `edgeopt.graph.rewrites.Rule`."""
        if node.op_type != "Add" or node.domain:
            return None
        cells = _parse(node)
        if not cells or any(_goes_on(cell) for cell in cells):
            return None
        graph = model.graph
        return rolled(model, chain_of(cells, _parse), lambda cell: _operator(graph, cell))


def _both(node: onnx_ir.Node) -> _Swapped:
    one, other = node.inputs
    return (one, other), (other, one)


def _parse(node: onnx_ir.Node | None) -> list[Cell]:
    """The cell whose last node this is."""
    if node is None or node.op_type != "Add" or node.domain or len(node.inputs) != 2:
        return []
    for first, second in _both(node):
        product = before(second, {"Mul"})
        if product is None:
            continue
        fresh = before(first, {"Tanh"})
        found = _with_difference(fresh, product) if fresh is not None else _with_complement(first, product)
        if found is not None:
            fresh, update, state, more = found
            if (cell := _cell(node.outputs[0], fresh, update, state, {node, product, *more})) is not None:
                return [cell]
    return []


_Reading = tuple[onnx_ir.Node, onnx_ir.Node, onnx_ir.Value, set[onnx_ir.Node]]


def _with_difference(fresh: onnx_ir.Node, product: onnx_ir.Node) -> _Reading | None:
    """`n + z (h - n)`."""
    for gate, difference in _both(product):
        update, minus = before(gate, {"Sigmoid"}), before(difference, {"Sub"})
        if update is None or minus is None or minus.inputs[1] is not fresh.outputs[0]:
            continue
        if (state := minus.inputs[0]) is not None:
            return fresh, update, state, {minus}
    return None


def _with_complement(first: onnx_ir.Value | None, product: onnx_ir.Node) -> _Reading | None:
    """`(1 - z) n + z h`."""
    other = before(first, {"Mul"})
    if other is None:
        return None
    for gate, new in _both(other):
        minus, fresh = before(gate, {"Sub"}), before(new, {"Tanh"})
        if minus is None or fresh is None or scalar_of(minus.inputs[0]) != 1:
            continue
        update = before(minus.inputs[1], {"Sigmoid"})
        for one, state in _both(product):
            if update is not None and one is update.outputs[0] and state is not None:
                return fresh, update, state, {other, minus}
    return None


def _cell(
    h: onnx_ir.Value,
    fresh: onnx_ir.Node,
    update: onnx_ir.Node,
    state: onnx_ir.Value,
    nodes: set[onnx_ir.Node],
) -> Cell | None:
    total, added = before(fresh.inputs[0], {"Add"}), before(update.inputs[0], {"Add"})
    shape = sizes(h)
    if total is None or added is None or shape is None:
        return None
    for outside, inside in _both(total):
        scaled = before(inside, {"Mul"})
        if scaled is None:
            continue
        for gate, recurrent in _both(scaled):
            reset = before(gate, {"Sigmoid"})
            summed = before(reset.inputs[0], {"Add"}) if reset is not None else None
            if reset is None or summed is None:
                continue
            x_new, h_new = piece_of(outside), piece_of(recurrent)
            gates = [_sides(each, x_new, h_new) for each in (added, summed)]
            if x_new is None or h_new is None or None in gates:
                continue
            columns = [(*[side for side in gates if side is not None], (x_new, h_new))]
            own = {fresh, update, total, added, scaled, reset, summed} | nodes
            cutting = [outside, recurrent, *added.inputs, *summed.inputs]
            own |= {p for value in cutting if value is not None and (p := value.producer()) is not None}
            return _described(h, state, columns[0], own, shape[-1])
    return None


def _sides(add: onnx_ir.Node, x_new: Piece | None, h_new: Piece | None) -> tuple[Piece, Piece] | None:
    """The parts of a gate that come from x and from h."""
    for one, other in _both(add):
        x, h = piece_of(one), piece_of(other)
        if x is None or h is None or x_new is None or h_new is None:
            continue
        if x.source is x_new.source and h.source is h_new.source:
            return x, h
    return None


def _described(
    h: onnx_ir.Value,
    state: onnx_ir.Value,
    gates: tuple[tuple[Piece, Piece], ...],
    nodes: set[onnx_ir.Node],
    hidden: int,
) -> Cell | None:
    starts = tuple(x.start for x, _ in gates)
    whole = [(start, start + hidden) for start in range(0, 3 * hidden, hidden)]
    for side in (0, 1):
        if sorted((gate[side].start, gate[side].stop) for gate in gates) != whole:
            return None
    if starts != tuple(back.start for _, back in gates):
        return None
    x, back = affine(gates[0][0].source), affine(gates[0][1].source)
    if x is None or back is None or len(x.terms) != 1 or len(back.terms) != 1:
        return None
    if back.terms[0].x is not state or any(np.size(each.bias) not in (1, 3 * hidden) for each in (x, back)):
        return None
    biases = (row(x.bias, 3 * hidden), row(back.bias, 3 * hidden))
    every = frozenset(nodes | x.nodes | back.nodes)
    return Cell(h, None, (state,), x.terms[0].x, (x.terms[0], back.terms[0]), biases, starts, every)


def _goes_on(cell: Cell) -> bool:
    """Whether a further cell takes this one's state."""
    for reader, _ in cell.h.uses():
        products = [reader] if reader.op_type == "Mul" else []
        if reader.op_type == "Sub":
            products = [each for each, _ in reader.outputs[0].uses() if each.op_type == "Mul"]
        for product in products:
            for last, _ in product.outputs[0].uses():
                if any(each.previous == (cell.h,) and each.is_like(cell) for each in _parse(last)):
                    return True
    return False


def _operator(graph: onnx_ir.Graph, cell: Cell) -> onnx_ir.Node:
    hidden, name = (sizes(cell.h) or (0, 0))[-1], str(cell.h.name)
    x, back = (stacked(term.matrix(), cell.starts, hidden) for term in cell.weights)
    biases = np.concatenate([stacked(bias[None], cell.starts, hidden)[..., 0] for bias in cell.biases], -1)
    weights = [
        add_initializer(graph, f"{name}_{key}", np.asarray(array, np.float32))
        for key, array in (("W", x), ("R", back), ("B", biases))
    ]
    attributes = [onnx_ir.AttrInt64("hidden_size", hidden), onnx_ir.AttrInt64("linear_before_reset", 1)]
    return onnx_ir.Node("", "GRU", [None, *weights], attributes, num_outputs=2)


RULES = (RollGru(),)

_CELL = """
  g{n} = Gemm <transB = 1> (h{p}, r, b) m{n} = MatMul(x{n}, w) i{n} = Add(m{n}, k)
  ir{n}, iz{n}, in{n} = Split <axis = 1> (i{n}, parts) hr{n}, hz{n}, hn{n} = Split <axis = 1> (g{n}, parts)
  ar{n} = Add(ir{n}, hr{n}) r{n} = Sigmoid(ar{n}) az{n} = Add(iz{n}, hz{n}) z{n} = Sigmoid(az{n})
  q{n} = Mul(r{n}, hn{n}) an{n} = Add(in{n}, q{n}) n{n} = Tanh(an{n})
"""
_ENDS = (
    "d{n} = Sub(h{p}, n{n}) e{n} = Mul(z{n}, d{n}) h{n} = Add(n{n}, e{n})",
    "d{n} = Sub(one, z{n}) e{n} = Mul(d{n}, n{n}) f{n} = Mul(z{n}, h{p}) h{n} = Add(e{n}, f{n})",
)


def _example(
    order: tuple[int, ...], form: int, end: str, becomes: tuple[str, ...] | None, reason: str = "",
    out: str = "float[1,2] h3",
) -> Example:  # fmt: skip
    steps = "".join(f"x{n} = Gather <axis = 1> (x, step{at})" for n, at in zip((1, 2, 3), order, strict=True))
    cells = "".join((_CELL + _ENDS[form]).format(n=n, p=n - 1) for n in (1, 2, 3))
    numbers = ", ".join(str(round(np.sin(n), 2)) for n in range(12))
    return Example(
        f"""<ir_version: 8, opset_import: ["": 17]> agraph (float[1,3,2] x, float[1,2] h0) => ({out})
        <int64 step0 = {{0}}, int64 step1 = {{1}}, int64 step2 = {{2}}, int64[3] parts = {{2, 2, 2}},
         float[2,6] w = {{{numbers}}}, float[6,2] r = {{{numbers}}}, float[6] b = {{1, 2, 3, 4, 5, 6}},
         float[6] k = {{6, 5, 4, 3, 2, 1}}, float one = {{1}}>
        {{ {steps} {cells} {end} }}""",
        becomes,
        reason,
    )


EXAMPLES = (
    _example((0, 1, 2), 0, "", ("Transpose", "Reshape", "GRU", "Reshape", "Gather")),
    _example((2, 1, 0), 1, "y = Neg(h1)",
             ("Transpose", "Reshape", "GRU", "Reshape", "Gather", "Gather", "Neg"),
             out="float[1,2] h3, float[1,2] y"),
    _example((0, 1, 2), 0, "y = Neg(h0)", None, "nothing reads", out="float[1,2] y"),
    _example((0, 1, 2), 0, "y = Neg(z2)", None, "read elsewhere", out="float[1,2] h3, float[1,2] y"),
)  # fmt: skip
