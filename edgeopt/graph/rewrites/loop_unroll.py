"""Write out a short loop whose number of rounds is known.

    Loop(n, true, v): body(0, v) -> v1, body(1, v1) -> v2, ...

Before:
    Loop(n, , v) <body>     n constant
After:
    n copies of the body's nodes; outputs that the body stacks become a Concat along a new first axis

Weights: those of the body become constants of the main graph, shared by its copies.

Does not apply when:
    - the number of rounds is computed, 0, or more than 8, or the copies would have more than 256 nodes,
    - the body decides when to stop, or holds a graph itself.

Source: ONNX Loop-16.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial

import numpy as np
import onnx_ir

from edgeopt.graph.constants import add_initializer, array_of, free_name
from edgeopt.graph.editing import input_at, opset_of
from edgeopt.graph.inlining import put_in, take_out
from edgeopt.graph.matching import Found, Refusal
from edgeopt.graph.reading import has_subgraph
from edgeopt.graph.rewrites import Example

ORDER = 11
EXACT = True
SITUATIONAL = True  # many small nodes are not always faster than a loop over few
RTOL = 0.0

MAX_ROUNDS = 8
MAX_NODES = 256


class UnrollLoop:
    """A Loop that always runs the same few rounds."""

    def find(self, model: onnx_ir.Model, node: onnx_ir.Node) -> Found | Refusal | None:
        """See `edgeopt.graph.rewrites.Rule`."""
        if node.op_type != "Loop" or node.domain:
            return None
        rounds, condition = array_of(node.inputs[0]), input_at(node, 1)
        if rounds is None or (condition is not None and array_of(condition) is None):
            return Refusal("its number of rounds is computed, or it begins with a computed condition")
        count, body = int(rounds.reshape(-1)[0]), node.attributes["body"].as_graph()
        if condition is not None and not constant_true(condition):
            return Refusal("it never runs")
        if not 0 < count <= MAX_ROUNDS or count * len(body) > MAX_NODES:
            return Refusal(f"{count} rounds of {len(body)} nodes are too many to write out, or none")
        if not _goes_on(body):
            return Refusal("the body decides when to stop")
        if any(has_subgraph(inner) for inner in body):
            return Refusal("the body holds a graph")
        return Found((node,), partial(_unroll, model, node, body, count))


def constant_true(value: onnx_ir.Value) -> bool:
    """Whether a condition is a constant, as an initializer or a Constant node, that says yes."""
    tensor = onnx_ir.convenience.get_const_tensor(value)
    return tensor is not None and bool(np.asarray(tensor.numpy()).all())


def _goes_on(body: onnx_ir.Graph) -> bool:
    """Whether the condition that the body returns is a constant, or the one that it was given."""
    going = body.outputs[0]
    while (
        (node := going.producer()) is not None and node.op_type == "Identity" and node.inputs[0] is not None
    ):
        going = node.inputs[0]
    return going is body.inputs[1] or constant_true(going)


def _unroll(
    model: onnx_ir.Model, node: onnx_ir.Node, body: onnx_ir.Graph, count: int
) -> Sequence[onnx_ir.Node]:
    graph, carried = model.graph, list(node.inputs[2:])
    going = add_initializer(graph, f"{node.name}_condition", np.asarray(True))
    for name in list(body.initializers):  # before it is copied: the copies share them
        _move_constant(graph, body, name)
    new: list[onnx_ir.Node] = []
    stacked: list[list[onnx_ir.Value]] = [[] for _ in body.outputs[1 + len(carried) :]]
    for index in range(count):
        copy = body.clone(allow_outer_scope_values=True)
        number = add_initializer(graph, f"{node.name}_round", np.asarray(index, np.int64))
        for given, value in zip(copy.inputs, [number, going, *carried], strict=True):
            if value is not None:
                given.replace_all_uses_with(value, replace_graph_outputs=True)
        nodes, outputs = take_out(graph, copy)
        new += nodes
        carried = list(outputs[1 : 1 + len(carried)])
        for scanned, value in zip(stacked, outputs[1 + len(carried) :], strict=True):
            scanned.append(value)
    joined = [_stack(graph, node, values, new) for values in stacked]
    results = [value for value in carried if value is not None]
    return put_in(model, node, new, [*results, *joined])


def _move_constant(graph: onnx_ir.Graph, body: onnx_ir.Graph, name: str) -> None:
    constant = body.initializers.pop(name)
    constant.name = free_name(graph, name)
    graph.register_initializer(constant)


def _stack(
    graph: onnx_ir.Graph, node: onnx_ir.Node, values: Sequence[onnx_ir.Value], new: list[onnx_ir.Node]
) -> onnx_ir.Value:
    parts: list[onnx_ir.Value] = []
    for value in values:
        if opset_of(node) < 13:
            unsqueeze = onnx_ir.Node("", "Unsqueeze", [value], [onnx_ir.AttrInt64s("axes", [0])])
        else:
            axis = add_initializer(graph, f"{node.name}_axis", np.zeros(1, np.int64))
            unsqueeze = onnx_ir.Node("", "Unsqueeze", [value, axis])
        new.append(unsqueeze)
        parts.append(unsqueeze.outputs[0])
    concat = onnx_ir.Node("", "Concat", parts, [onnx_ir.AttrInt64("axis", 0)])
    new.append(concat)
    return concat.outputs[0]


RULES = (UnrollLoop(),)


def _example(
    rounds: str, body: str, becomes: tuple[str, ...] | None, reason: str = "", stop: str = "go = Identity(c)"
) -> Example:
    return Example(
        f"""<ir_version: 8, opset_import: ["": 17]>
        agraph (float[3] x, int64 n) => (float[3] last, float[k,3] all)
          <int64 two = {{2}}, int64 many = {{100}}, bool yes = {{1}}>
        {{ last, all = Loop({rounds}, yes, x) <
             body = body (int64 i, bool c, float[3] v) => (bool go, float[3] w, float[3] s)
             {{ {stop}  {body} }}> }}""",
        becomes,
        reason,
    )


_BODY = "f = Cast <to = 1> (i) a = Add(v, f) w = Sin(a) s = Neg(w)"

EXAMPLES = (
    _example(
        "two",
        _BODY,
        ("Cast", "Add", "Sin", "Neg") * 2 + ("Unsqueeze", "Unsqueeze", "Concat"),
    ),
    _example("many", _BODY, None, "too many"),
    _example("n", _BODY, None, "computed"),
    _example("two", _BODY, None, "when to stop", stop="m = ReduceMax <keepdims = 0> (v) go = Greater(m, m)"),
)
