"""Dynamic int8 of GRU, which has no int8 kernel: written out as integer products and gates, step by step.

Maths, for gates z (update), r (reset), n (new), with W, R, b of ONNX's layout z, r, n:

    [z r n]x = X W^T + b_w for all steps in one product          [z r n]h = h R^T (+ b_r) at each step
    z = sigmoid(zx + zh)     r = sigmoid(rx + rh)     h' = (1 - z) n + z h = n + z (h - n)
    n = tanh(nx + r (nh + b_rn))          with linear_before_reset
    n = tanh(nx + (r h) R_n^T + b_rn)     without: a second product at each step

An input that is looked up in a small table E is never multiplied: X W^T + b_w = (E W^T + b_w)[indices], a
table of products in float16, where that takes no more bytes than W in int8.

The sequence must have a fixed length of at most `MOST_STEPS`: every step adds about ten nodes.

Source: ONNX GRU-7 and -14; Cho et al. 2014 (arXiv:1406.1078).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING

import numpy as np
import onnx_ir as ir

from edgeopt.graph.precision._arithmetic import Floats, quantize_weight, weight_scale
from edgeopt.graph.precision._tables import lookup, remove_unread
from edgeopt.graph.precision._weights import constant, operand
from edgeopt.graph.regions import region_of

if TYPE_CHECKING:
    from edgeopt.graph.precision._edit import Edit

MOST_STEPS = 32
MIN_OPSET = 13
"""Squeeze, Unsqueeze and Split take their axes as inputs from here on."""

_SEQUENCE_LENGTHS = 4


def is_quantizable(node: ir.Node) -> bool:
    """Constant weights, default activations, no clip, all sequences of one known length."""
    graph = node.graph
    if node.domain or graph is None or graph.opset_imports.get("", 1) < MIN_OPSET or len(node.inputs) < 3:
        return False
    if node.attributes.get_int("layout", 0) != 0 or not {"activations", "clip"}.isdisjoint(node.attributes):
        return False
    if len(node.inputs) > _SEQUENCE_LENGTHS and node.inputs[_SEQUENCE_LENGTHS] is not None:
        return False
    data = node.inputs[0]
    sizes = list(data.shape)[:2] if data is not None and data.shape is not None else []
    known = [size for size in sizes if isinstance(size, int)]  # steps, batch
    if len(known) != 2 or not 0 < known[0] <= MOST_STEPS:
        return False
    if len(node.inputs) > 3 and node.inputs[3] is not None and constant(node.inputs[3]) is None:
        return False
    tensors = [constant(value) for value in node.inputs[1:3]]
    return all(t is not None and t.dtype == ir.DataType.FLOAT and len(t.shape) == 3 for t in tensors)


@dataclass(frozen=True, slots=True)
class _Direction:
    """Weights of one direction: w (inputs, 3H) and r (H, 3H), biases (3H,)."""

    w: Floats
    r: Floats
    input_bias: Floats
    hidden_bias: Floats


def quantize_gru(node: ir.Node, edit: Edit) -> bool:
    """Replace `node`; False (and nothing changed) if a weight is not finite."""
    w, r = (edit.weights.floats(value) for value in node.inputs[1:3])
    bias = node.inputs[3] if len(node.inputs) > 3 else None
    biases = edit.weights.floats(bias)
    if w is None or r is None or (bias is not None and biases is None):
        return False
    hidden = r.shape[2]
    if biases is None:
        biases = np.zeros((len(w), 6 * hidden), np.float32)
    steps = operand(node, 0).shape
    if steps is None or not isinstance(steps[0], int):
        return False
    writer = _Writer(node, edit, hidden, steps[0])
    directions = [
        _Direction(w[d].T, r[d].T, biases[d][: 3 * hidden], biases[d][3 * hidden :]) for d in range(len(w))
    ]
    made = [writer.direction(index, direction) for index, direction in enumerate(directions)]
    writer.finish(made)
    return True


class _Writer:
    """Writes the nodes that stand for one GRU, in front of it."""

    def __init__(self, node: ir.Node, edit: Edit, hidden: int, steps: int) -> None:
        self._node, self._edit, self._hidden, self._steps = node, edit, hidden, steps
        self._name = str(node.name)
        self._resets_after = node.attributes.get_int("linear_before_reset", 0) != 0
        self._reverse = node.attributes.get_string("direction", "forward")

    def direction(self, index: int, weights: _Direction) -> list[ir.Value]:
        """The hidden states (batch, H) of one direction, in the order of time."""
        hidden, name = self._hidden, f"{self._name}_{index}"
        before = weights.input_bias.copy()
        # What is added to the products of both may be added once; the bias inside the reset gate may not.
        before[: 2 * hidden] += weights.hidden_bias[: 2 * hidden]
        after = weights.hidden_bias[2 * hidden :]
        if not self._resets_after:
            before[2 * hidden :] += after
        inputs = self._looked_up(index, weights.w, before, name)
        if inputs is None:
            matrix = self._integers(1, f"gru w {index}", weights.w, f"{name}_w")
            added = self._bias("input bias", index, before)
            inputs = self._multiply(operand(self._node, 0), matrix, f"{name}_w", added)
        slices = self._split(inputs, [1] * self._steps, 0, name)
        state = self._initial(index)
        if self._resets_after:
            recurrent, new_only = self._integers(2, f"gru r {index}", weights.r, f"{name}_r"), None
        else:
            gates, new = np.split(weights.r, [2 * hidden], axis=1)
            recurrent = self._integers(2, f"gru gates {index}", gates, f"{name}_r")
            new_only = self._integers(2, f"gru new {index}", new, f"{name}_n")
        after = np.concatenate([np.zeros(2 * hidden, np.float32), after])
        hidden_bias = self._bias("hidden bias", index, after) if self._resets_after else None
        reverse = self._reverse == "reverse" or (self._reverse == "bidirectional" and index == 1)
        order = range(self._steps - 1, -1, -1) if reverse else range(self._steps)
        states: dict[int, ir.Value] = {}
        for step in order:
            x = self._add("Squeeze", [slices[step], self._constant([0])], f"{name}_x{step}")
            state = self._step(x, state, recurrent, new_only, hidden_bias, f"{name}_{step}")
            states[step] = state
        return [states[step] for step in range(self._steps)]

    def finish(self, directions: list[list[ir.Value]]) -> None:
        """Y (steps, directions, batch, H) and Y_h (directions, batch, H) take over from the node."""
        node, edit = self._node, self._edit
        kinds = {"forward": (-1,), "reverse": (0,), "bidirectional": (-1, 0)}[self._reverse]
        outputs = [*node.outputs, *[None] * 2][:2]
        axes = self._constant([0, 1])
        if outputs[0] is not None and (outputs[0].uses() or outputs[0].is_graph_output()):
            steps = [
                self._join(
                    [
                        self._add("Unsqueeze", [states[step], axes], f"{self._name}_y{step}")
                        for states in directions
                    ],
                    1,
                    f"{self._name}_d{step}",
                )
                for step in range(self._steps)
            ]
            edit.take_over(outputs[0], self._join(steps, 0, f"{self._name}_y"))
        if outputs[1] is not None and (outputs[1].uses() or outputs[1].is_graph_output()):
            last = [
                self._add("Unsqueeze", [states[end], self._constant([0])], f"{self._name}_h{index}")
                for index, (states, end) in enumerate(zip(directions, kinds, strict=True))
            ]
            edit.take_over(outputs[1], self._join(last, 0, f"{self._name}_h"))
        data = node.inputs[0]
        edit.graph.remove(node, safe=True)
        remove_unread(data, edit.graph)

    def _step(
        self,
        x: ir.Value,
        state: ir.Value,
        recurrent: tuple[ir.Value, ir.Value],
        new_only: tuple[ir.Value, ir.Value] | None,
        hidden_bias: ir.Value | None,
        name: str,
    ) -> ir.Value:
        hidden = self._hidden
        x_gates, x_new = self._split(x, [2 * hidden, hidden], 1, f"{name}_xs")
        h = self._multiply(state, recurrent, f"{name}_h", hidden_bias)
        if new_only is None:
            h_gates, h_new = self._split(h, [2 * hidden, hidden], 1, f"{name}_hs")
        else:
            h_gates = h
        gates = self._add("Sigmoid", [self._add("Add", [x_gates, h_gates], f"{name}_s")], f"{name}_g")
        update, reset = self._split(gates, [hidden, hidden], 1, f"{name}_gs")
        if new_only is None:
            inner = self._add("Mul", [reset, h_new], f"{name}_rh")
        else:
            inner = self._multiply(self._add("Mul", [reset, state], f"{name}_rs"), new_only, f"{name}_rn")
        new = self._add("Tanh", [self._add("Add", [x_new, inner], f"{name}_na")], f"{name}_n")
        difference = self._add("Sub", [state, new], f"{name}_d")
        kept = self._add("Mul", [update, difference], f"{name}_k")
        return self._add("Add", [new, kept], f"{name}_next")

    def _initial(self, index: int) -> ir.Value:
        given = self._node.inputs[5] if len(self._node.inputs) > 5 else None
        if given is not None:
            before = given.producer()
            if (
                before is not None
                and before.op_type == "Unsqueeze"
                and before.inputs[1] is self._constant([0])
            ):
                return operand(before, 0)  # the last state of another that was written out
            return self._add("Gather", [given, self._constant(index)], f"{self._name}_h0_{index}")
        data = operand(self._node, 0)
        batch = data.shape[1] if data.shape is not None else 1
        zeros = np.zeros((batch if isinstance(batch, int) else 1, self._hidden), np.float32)
        return self._edit.initializer(f"{self._name}_h0_{index}", zeros)

    def _looked_up(self, index: int, w: Floats, bias: Floats, name: str) -> ir.Value | None:
        """The products of the inputs, from a table; None where they come from none, or from a large one.

        Args:
            w: (inputs, 3H).
            bias: (3H,).
        """
        data, edit = operand(self._node, 0), self._edit
        turned = data.producer()
        order = turned.attributes.get_ints("perm", ()) if turned is not None else ()
        if turned is None or turned.op_type != "Transpose" or list(order)[-1:] != [2]:
            turned = None
        found = lookup(data if turned is None else operand(turned, 0), edit.weights)
        if found is None or 2 * len(found.table) > len(w):
            return None
        half = (found.table @ w + bias).astype(np.float16)
        if not np.isfinite(half).all():
            return None

        def make() -> ir.Value:
            stored = edit.initializer(f"{name}_w__table", half)
            to = {"to": int(ir.DataType.FLOAT)}  # ONNX Runtime widens it once, when it loads the model
            return edit.before(self._node, "Cast", [stored], name=f"{name}_w", attributes=to)

        form = f"gru table {index} {found.stored.name} {self._bias_name()} {self._resets_after}"
        table = edit.shared(operand(self._node, 1), form, make)
        products = self._add("Gather", [table, found.indices], f"{name}_w")
        if turned is not None:
            products = self._add("Transpose", [products], f"{name}_w", {"perm": list(order)})
        return products

    def _bias(self, name: str, index: int, bias: Floats) -> ir.Value:
        """One constant for all GRUs with this bias."""
        given = self._node.inputs[3] if len(self._node.inputs) > 3 else None
        make = partial(self._edit.initializer, f"{self._name}_{name}", bias)
        return self._edit.shared(given, f"gru {name} {index} {len(bias)} {self._resets_after}", make)

    def _bias_name(self) -> str:
        return str(self._node.inputs[3].name) if len(self._node.inputs) > 3 and self._node.inputs[3] else ""

    def _integers(
        self, operand_index: int, form: str, weight: Floats, name: str
    ) -> tuple[ir.Value, ir.Value]:
        """int8 (inputs, columns) and a scale per column: of all steps, and of all GRUs with this weight.

        A decoder that is written out step by step is many nodes with one weight.

        Args:
            operand_index: The node's input that `weight` is (a part of).
            form: Which part.
        """
        edit = self._edit

        def make() -> tuple[ir.Value, ir.Value]:
            scale = weight_scale(weight, 1, most=edit.most)
            levels = np.ascontiguousarray(quantize_weight(weight, scale, 1, edit.most))
            return edit.initializer(f"{name}__int8", levels), edit.initializer(f"{name}__scale", scale)

        return edit.shared(operand(self._node, operand_index), form, make)

    def _multiply(
        self, data: ir.Value, weight: tuple[ir.Value, ir.Value], name: str, bias: ir.Value | None = None
    ) -> ir.Value:
        inputs = [data, *weight] if bias is None else [data, *weight, None, bias]
        return self._add("DynamicQuantizeMatMul", inputs, name, domain="com.microsoft")

    def _split(self, value: ir.Value, sizes: list[int], axis: int, name: str) -> list[ir.Value]:
        if len(sizes) == 1:
            return [value]
        node = self._edit.make(
            "Split", [value, self._constant(sizes)], region=region_of(self._node), name=f"{name}_split",
            attributes={"axis": axis}, outputs=len(sizes),
        )  # fmt: skip
        self._edit.graph.insert_before(self._node, node)
        return list(node.outputs)

    def _join(self, values: list[ir.Value], axis: int, name: str) -> ir.Value:
        if len(values) == 1:
            return values[0]
        return self._add("Concat", values, name, {"axis": axis})

    def _add(
        self,
        op_type: str,
        inputs: Sequence[ir.Value | None],
        name: str,
        attributes: Mapping[str, int | Sequence[int]] | None = None,
        domain: str = "",
    ) -> ir.Value:
        node = self._edit.make(
            op_type, inputs, region=region_of(self._node), name=name, attributes=attributes, domain=domain
        )
        self._edit.graph.insert_before(self._node, node)
        return node.outputs[0]

    def _constant(self, numbers: list[int] | int) -> ir.Value:
        array = np.array(numbers, np.int64)
        return self._edit.shared(None, f"int64 {numbers}", lambda: self._edit.initializer("numbers", array))
