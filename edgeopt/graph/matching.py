"""Finding a place for a rewrite, and splicing the replacement in.

`PatternRule` takes a rule of onnxscript's rewriter. What its fixed patterns cannot say (any of a dozen
operators, a chain of any length) is a class with the same `find`, built on `bypass` and `splice`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from types import MappingProxyType
from typing import Any

import onnx_ir
from onnxscript.rewriter import pattern

from edgeopt.graph.constants import free_name

_NO_ATTRIBUTES: Mapping[str, Any] = MappingProxyType({})
_SHARED = "Matched nodes have other uses"


@dataclass(frozen=True, slots=True)
class Found:
    """A place where a rewrite applies.

    Attributes:
        nodes: That would be replaced.
        replace: Changes the graph; the new nodes, or None if nothing was changed after all.
    """

    nodes: tuple[onnx_ir.Node, ...]
    replace: Callable[[], Sequence[onnx_ir.Node] | None]


@dataclass(frozen=True, slots=True)
class Refusal:
    """A place where the operators fit but the rewrite does not apply, and why."""

    reason: str


class NodeRule:
    """A function that looks at one node, asked only for some operators.

    Args:
        look: Given the graph and a node; see `edgeopt.graph.rewrites.Rule.find`.
        roots: Operators of the default domain that it is asked for.
    """

    def __init__(
        self, look: Callable[[onnx_ir.Graph, onnx_ir.Node], Found | Refusal | None], roots: Sequence[str]
    ) -> None:
        self._look = look
        self._roots = frozenset(roots)

    def find(self, model: onnx_ir.Model, node: onnx_ir.Node) -> Found | Refusal | None:
        """See `edgeopt.graph.rewrites.Rule`."""
        if node.op_type not in self._roots or node.domain:
            return None
        return self._look(model.graph, node)


class PatternRule:
    """A rule of onnxscript's rewriter, with its reason kept where its check fails.

    Args:
        rule: As made by `RewriteRuleClassBase.rule()`.
        roots: Operators of the last node of the pattern: others are not even tried.
        commute: Also try the pattern with the inputs of Add and Mul exchanged.
        worth_trying: A quick look at the last node, where many patterns would be tried in vain.
    """

    def __init__(
        self,
        rule: pattern.RewriteRule,
        roots: Sequence[str],
        *,
        commute: bool = False,
        worth_trying: Callable[[onnx_ir.Node], bool] = lambda _: True,
    ) -> None:
        self._rules = list(rule.commute()) if commute else [rule]
        self._roots = frozenset(roots)
        self._worth_trying = worth_trying

    def find(self, model: onnx_ir.Model, node: onnx_ir.Node) -> Found | Refusal | None:
        """See `edgeopt.graph.rewrites.Rule`."""
        if node.op_type not in self._roots or node.domain or not self._worth_trying(node):
            return None
        refusal: Refusal | None = None
        for rule in self._rules:
            heard = _Reasons()
            match = rule.match(model, model.graph, node, tracer=heard)
            if match:
                return Found(tuple(match.nodes), partial(_apply, rule, model, node))
            refusal = refusal or heard.refusal
        return refusal


class _Reasons(pattern.MatchingTracer):
    """Keeps why a match failed, where that is of interest to a reader."""

    refusal: Refusal | None = None

    def log(
        self,
        rule: pattern.RewriteRule,  # noqa: ARG002
        container: onnx_ir.Graph | onnx_ir.Function,  # noqa: ARG002
        node: onnx_ir.Node,  # noqa: ARG002
        match_result: pattern.MatchResult,
        status: pattern.MatchStatus,
    ) -> None:
        if status == pattern.MatchStatus.CONDITION_FAILED:
            self.refusal = Refusal(match_result.reason)
        elif match_result.reason.startswith(_SHARED):
            self.refusal = SHARED


def _apply(
    rule: pattern.RewriteRule, model: onnx_ir.Model, node: onnx_ir.Node
) -> Sequence[onnx_ir.Node] | None:
    made = rule.try_rewrite(model, model.graph, node)
    if made is None or _reads_any(made.new_nodes, made.match.nodes):
        return None
    for value in made.new_initializers:
        value.name = free_name(model.graph, str(value.name))
        model.graph.register_initializer(value)
    splice(model.graph, node, made.match.nodes, made.new_nodes, made.match.outputs, made.new_outputs)
    return list(made.new_nodes)


def _reads_any(new: Sequence[onnx_ir.Node], old: Sequence[onnx_ir.Node]) -> bool:
    """Whether new nodes read what they replace: `Add(y, y)` looks like a product y and a bias."""
    replaced = {output for node in old for output in node.outputs}
    return any(value in replaced for node in new for value in node.inputs)


def splice(
    graph: onnx_ir.Graph,
    root: onnx_ir.Node,
    old: Sequence[onnx_ir.Node],
    new: Sequence[onnx_ir.Node],
    old_values: Sequence[onnx_ir.Value],
    new_values: Sequence[onnx_ir.Value],
) -> None:
    """Put `new` in the place of `old`, after `root`; values keep their names, nodes do where they can.

    A new node takes the name of a replaced one of its operator, else the root's: profiles stay readable.
    """
    spare = {node.op_type: str(node.name) for node in old}
    given: set[str] = set()
    taken = {str(node.name) for node in graph} - {str(node.name) for node in old}
    for node in new:
        name, number = spare.get(node.op_type) or str(root.name), 1
        base = name
        while name in taken:
            number += 1
            name = f"{base}_{number}"
        taken.add(name)
        node.name = name
        for value in node.outputs:
            if value not in new_values and value.name != "":  # an output that is left out
                value.name = _free_name(graph, f"{old_values[0].name}_{node.op_type}", given)
    onnx_ir.convenience.replace_nodes_and_values(graph, root, old, new, old_values, new_values)


def _free_name(graph: onnx_ir.Graph, base: str, given: set[str]) -> str:
    """`free_name`, where `given` are those of nodes that are not in the graph yet."""
    name, number = free_name(graph, base), 1
    while name in given:
        number += 1
        name = free_name(graph, f"{base}_{number}")
    given.add(name)
    return name


def chain(
    graph: onnx_ir.Graph, old: Sequence[onnx_ir.Node], build: Callable[[], Sequence[onnx_ir.Node] | None]
) -> Found:
    """Replace nodes by others, of which the last writes what the last of the old ones wrote.

    Args:
        graph: Of the nodes.
        old: In the graph's order; only the last may be read from elsewhere.
        build: The new nodes in order, or None if they cannot be made after all.
    """

    def replace() -> Sequence[onnx_ir.Node] | None:
        new = build()
        if new is not None:
            splice(graph, old[-1], old, new, [old[-1].outputs[0]], [new[-1].outputs[0]])
        return new

    return Found(tuple(old), replace)


def only_reader(node: onnx_ir.Node) -> onnx_ir.Node | None:
    """The one node that reads the one output of `node`, once; None if there are others or it is an output."""
    output, *others = node.outputs
    if any(other.uses() for other in others) or is_shared(output):
        return None
    reader = next((use.node for use in output.uses()), None)
    return reader if reader is not None and reader.graph is node.graph else None


def before(node: onnx_ir.Node, position: int, operators: Iterable[str]) -> onnx_ir.Node | None:
    """The node behind an input, if it is one of these operators of the default domain in the same graph."""
    value = node.inputs[position] if position < len(node.inputs) else None
    producer = value.producer() if value is not None else None
    if producer is None or producer.domain or producer.op_type not in operators:
        return None
    return producer if producer.graph is node.graph else None


def is_shared(value: onnx_ir.Value) -> bool:
    """Whether a value is read more than once, or is an output of the model."""
    return value.is_graph_output() or len(value.uses()) > 1


SHARED = Refusal("a value in between is read elsewhere too, or is an output of the model")


def made(
    operator: str,
    inputs: Sequence[onnx_ir.Value | None],
    attributes: Mapping[str, Any] = _NO_ATTRIBUTES,
    shape: Sequence[int] | None = None,
    dtype: onnx_ir.DataType | None = None,
    *,
    domain: str = "",
    outputs: int = 1,
) -> onnx_ir.Node:
    """A new node, the shape and type of whose first output are noted for the rewrites after this one."""
    node = onnx_ir.node(operator, inputs, attributes=attributes, domain=domain, num_outputs=outputs)
    if shape is not None:
        node.outputs[0].shape = onnx_ir.Shape(shape)
    if dtype is not None:
        node.outputs[0].type = onnx_ir.TensorType(dtype)
    return node


def bypass(node: onnx_ir.Node, kept: onnx_ir.Value) -> Found | Refusal:
    """Remove a node whose first output equals `kept`, one of its inputs.

    Where that output is an output of the model, `kept` takes over its name.
    """
    output = node.outputs[0]
    if output.is_graph_output() and (
        kept.producer() is None or kept.is_graph_output() or kept.graph is not node.graph
    ):
        return Refusal("it names an output of the model, and its input cannot take over the name")
    return Found((node,), lambda: _bypass(node, kept))


def _bypass(node: onnx_ir.Node, kept: onnx_ir.Value) -> Sequence[onnx_ir.Node]:
    output, graph = node.outputs[0], node.graph
    if graph is None:
        raise ValueError(f"{node.name} is not in a graph")
    if output.is_graph_output():
        name, output.name = output.name, None
        kept.name = name
        # Inference may not have told them, and an output must have them.
        kept.type = kept.type if kept.type is not None else output.type
        kept.shape = kept.shape if kept.shape is not None else output.shape
    output.replace_all_uses_with(kept, replace_graph_outputs=True)
    graph.remove(node, safe=True)
    return []
