"""Pull a Transpose up through the operators before it, where it meets others and they cancel.

    Transpose(f(a, b), q) = f(Transpose(a, q), Transpose(b, q))     f elementwise
    Transpose(Concat(a, b; axis), q) = Concat(Transpose(a, q), Transpose(b, q); position of axis in q)

Before:
    Transpose(Relu(Add(Transpose(x, p), c)), q)        q undoes p
After:
    Relu(Add(x, Transpose(c, q)))

Weights: constants that are broadcast get the rank of the result and are transposed ahead of time.

All operators between the last Transposes and the first ones are taken together, at most 64; the axes of
Concat, Split, Softmax and reductions that keep their axes move along.

Does not apply when:
    - the graph would not have fewer Transposes, or they would move more numbers: so it comes to an end,
    - a value in between is read by an operator that cares for the order of axes, or is an output,
    - a rank is not known, operands differ in rank, or the group is larger than 64 nodes.

Source: layout propagation; ONNX Transpose-13, Broadcasting.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial

import onnx_ir

from edgeopt.graph.constants import add_initializer, array_of, free_name
from edgeopt.graph.editing import before, made_transpose, permutation
from edgeopt.graph.flops import elements, sizes
from edgeopt.graph.layout import is_free, operands, reorder
from edgeopt.graph.matching import Found, Refusal
from edgeopt.graph.rewrites import Example

ORDER = 23
EXACT = True
RTOL = 1e-6

MAX_NODES = 64


@dataclass(frozen=True, slots=True)
class _Group:
    """Nodes whose axes change their order together.

    Attributes:
        nodes: In the graph's order.
        ends: The Transposes that read them, all with the same permutation: they go.
        leaves: What the nodes read and do not compute, constants left out.
    """

    nodes: list[onnx_ir.Node]
    ends: list[onnx_ir.Node]
    leaves: list[onnx_ir.Value]


class PullTranspose:
    """A Transpose behind operators that are free of layout."""

    def find(self, model: onnx_ir.Model, node: onnx_ir.Node) -> Found | Refusal | None:
        """See `edgeopt.graph.rewrites.Rule`."""
        if node.op_type != "Transpose" or node.domain or node.inputs[0] is None:
            return None
        order, last = permutation(node), node.inputs[0].producer()
        if order is None or last is None or last.op_type == "Transpose" or not is_free(last, len(order)):
            return None
        group = _group(model.graph, last, order)
        if group is None:
            return Refusal("a value in between is read where the order of axes matters, or is an output")
        given = {leaf: _through(leaf, order) for leaf in group.leaves}
        new = [leaf for leaf, source in given.items() if source is None]
        gone = [value for leaf in group.leaves if (value := _private(leaf, group)) is not None]
        gone += [end.outputs[0] for end in group.ends]
        fewer = len(new) < len(gone)
        if not fewer or sum(elements(v) or 0 for v in new) > sum(elements(v) or 0 for v in gone):
            return Refusal("there would be as many Transposes as before")
        return Found((*group.nodes, *group.ends), partial(_pull, model.graph, group, order, given))


def _group(graph: onnx_ir.Graph, last: onnx_ir.Node, order: Sequence[int]) -> _Group | None:
    """The largest group behind `last` that nothing else reads; None where there is none."""
    barred: set[onnx_ir.Node] = set()
    while last not in barred:
        nodes = _reachable(last, len(order), barred)
        wrong = {node for node in nodes if not _is_inside(graph, node, nodes, order)}
        if len(nodes) > MAX_NODES:
            return None
        if not wrong:
            return _described(graph, nodes)
        barred |= wrong
    return None


def _reachable(last: onnx_ir.Node, rank: int, barred: set[onnx_ir.Node]) -> set[onnx_ir.Node]:
    found, pending = {last}, [last]
    while pending and len(found) <= MAX_NODES:
        node = pending.pop()
        for position in operands(node):
            value = node.inputs[position]
            producer = value.producer() if value is not None else None
            if producer is None or producer in found or producer in barred or not is_free(producer, rank):
                continue
            found.add(producer)
            pending.append(producer)
    return found


def _is_inside(
    graph: onnx_ir.Graph, node: onnx_ir.Node, nodes: set[onnx_ir.Node], order: Sequence[int]
) -> bool:
    """Whether all that read a node are of the group, as operands, or Transposes of that order."""
    for output in node.outputs:
        if output.is_graph_output():
            return False
        for reader, position in output.uses():
            if reader.graph is not graph:
                return False
            if reader in nodes and position in operands(reader):
                continue
            if reader.op_type != "Transpose" or reader.domain or permutation(reader) != list(order):
                return False
    return sum(output.is_graph_output() for end in _ends(node) for output in end.outputs) <= 1


def _ends(node: onnx_ir.Node) -> list[onnx_ir.Node]:
    readers = dict.fromkeys(reader for output in node.outputs for reader, _ in output.uses())
    return [reader for reader in readers if reader.op_type == "Transpose"]


def _described(graph: onnx_ir.Graph, nodes: set[onnx_ir.Node]) -> _Group | None:
    ordered = [node for node in graph if node in nodes]
    leaves = dict.fromkeys(
        value
        for node in ordered
        for position in operands(node)
        if (value := node.inputs[position]) is not None
        and value.producer() not in nodes
        and array_of(value) is None
    )
    ends = [end for node in ordered for end in _ends(node)]
    if any(leaf.producer() in ends for leaf in leaves):  # it would be read in both orders
        return None
    return _Group(ordered, ends, list(leaves))


def _through(leaf: onnx_ir.Value, order: Sequence[int]) -> onnx_ir.Value | None:
    """The value that a leaf in the new order is already; None where it has to be transposed."""
    first = before(leaf, {"Transpose"})
    inner = permutation(first) if first is not None else None
    if first is None or inner is None or [inner[axis] for axis in order] != sorted(inner):
        return None
    return first.inputs[0]


def _private(leaf: onnx_ir.Value, group: _Group) -> onnx_ir.Value | None:
    """The result of a Transpose that nothing but the group reads: it goes, or becomes another one."""
    if before(leaf, {"Transpose"}) is None or leaf.is_graph_output():
        return None
    return leaf if all(reader in group.nodes for reader, _ in leaf.uses()) else None


def _pull(
    graph: onnx_ir.Graph,
    group: _Group,
    order: Sequence[int],
    given: dict[onnx_ir.Value, onnx_ir.Value | None],
) -> Sequence[onnx_ir.Node]:
    new: list[onnx_ir.Node] = []
    settled = {leaf: source for leaf, source in given.items() if source is not None}
    for node in group.nodes:
        for position in operands(node):
            value = node.inputs[position]
            if value is None or value.producer() in group.nodes:
                continue
            if (array := array_of(value)) is not None:
                if array.ndim:
                    whole = array.reshape((1,) * (len(order) - array.ndim) + array.shape)
                    name = f"{value.name}_transposed"
                    node.replace_input_with(position, add_initializer(graph, name, whole.transpose(order)))
                continue
            if value not in settled:
                new.append(_transposed(graph, value, order, node))
                settled[value] = new[-1].outputs[0]
            node.replace_input_with(position, settled[value])
        reorder(graph, node, order)
    for node in group.nodes:
        for output in node.outputs:
            _settle(graph, output, order)
    return new


def _transposed(
    graph: onnx_ir.Graph, value: onnx_ir.Value, order: Sequence[int], reader: onnx_ir.Node
) -> onnx_ir.Node:
    """A new Transpose of a leaf, merged with the one that made the leaf."""
    first = before(value, {"Transpose"})
    inner, source = permutation(first) if first is not None else None, value
    if first is not None and inner is not None and first.inputs[0] is not None:
        source, order = first.inputs[0], [inner[axis] for axis in order]
    node = made_transpose(source, order)
    taken = {str(each.name) for each in graph}
    name, number = f"{reader.name}_transpose", 1
    while name in taken:
        number += 1
        name = f"{reader.name}_transpose_{number}"
    node.name = name
    node.outputs[0].name = free_name(graph, f"{value.name}_transposed")
    graph.insert_before(reader, [node])
    return node


def _settle(graph: onnx_ir.Graph, output: onnx_ir.Value, order: Sequence[int]) -> None:
    """Give a value its new shape and name, and let it take the place of the Transposes behind it."""
    shape = sizes(output)
    output.shape = onnx_ir.Shape([shape[axis] for axis in order]) if shape is not None else None
    ends = [reader for reader, _ in output.uses() if reader.op_type == "Transpose"]
    ends.sort(key=lambda end: not end.outputs[0].is_graph_output())
    name = free_name(graph, f"{output.name}_transposed")
    for index, end in enumerate(ends):
        if index == 0:
            name, end.outputs[0].name = str(end.outputs[0].name), None
        end.outputs[0].replace_all_uses_with(output, replace_graph_outputs=True)
        graph.remove(end, safe=True)
    output.name = name


RULES = (PullTranspose(),)


def _example(
    body: str, becomes: tuple[str, ...] | None, reason: str = "", out: str = "float[2,3,4] y"
) -> Example:
    return Example(
        f"""<ir_version: 8, opset_import: ["": 17]> agraph (float[2,3,4] x, float[3,4,2] z) => ({out})
        <float[2] c = {{1, 2}}, float one = {{1}}, int64[2] parts = {{1, 3}}> {{ {body} }}""",
        becomes,
        reason,
    )


_THERE = "t = Transpose <perm = [1, 2, 0]> (x) "
_BACK = " y = Transpose <perm = [2, 0, 1]> "

EXAMPLES = (
    _example(_THERE + "a = Add(t, c) r = Relu(a) b = Mul(one, r)" + _BACK + "(b)", ("Add", "Relu", "Mul")),
    _example(_THERE + "r = Relu(t) n = Neg(x) u = Transpose <perm = [1, 2, 0]> (n) s = Sub(u, r)"
             + _BACK + "(s)", ("Relu", "Neg", "Sub")),
    _example(_THERE + "r = Relu(t) m = ReduceMean <axes = [1], keepdims = 1> (r) s = Sub(r, m)"
             " p = Softmax <axis = -1> (s) a, b = Split <axis = 1> (p, parts) k = Concat <axis = 1> (b, a)"
             + _BACK + "(k)", ("Relu", "ReduceMean", "Sub", "Softmax", "Split", "Concat")),
    _example(_THERE + "r = Relu(t) s = Add(r, z)" + _BACK + "(s)", ("Relu", "Transpose", "Add")),
    _example("r = Relu(z) s = Sigmoid(r)" + _BACK + "(s)", None, "as many"),
    _example(_THERE + "r = Relu(t)" + _BACK + "(r) f = Flatten(r)", None, "order of axes",
             out="float[2,3,4] y, float[3,8] f"),
)  # fmt: skip
