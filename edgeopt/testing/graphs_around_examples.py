"""Random graphs around the examples of rewrites: what each is made for, between layers of all kinds.

Patterns like an unrolled LSTM never come together by chance, so a rewrite of them would never be tried beside
the others. Here an example is the middle of a graph: random layers compute its inputs, others read its
outputs. A rewrite that somebody adds is tried too, for its examples are.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from functools import cache
from typing import Any

import onnx
from hypothesis import strategies as st
from onnx import compose

from edgeopt.graph import rewriting
from edgeopt.testing.graph_under_construction import Graph, Tensor
from edgeopt.testing.random_graphs import SHAPES, STEPS

_OPSETS = range(9, 22)
"""That layers around an example can be written in."""
_IR_VERSION = 10
"""That the newest of them needs."""


@cache
def examples() -> Mapping[str, Sequence[onnx.ModelProto]]:
    """Where each exact rewrite applies, by its name; without those that must know what inputs are made of."""
    found = {}
    for name in rewriting.in_order():
        if not rewriting.is_exact(name) or rewriting.changes(name) is not None:
            continue
        applying = [e for e in rewriting.load(name).EXAMPLES if e.becomes is not None and not e.levels]
        models = [onnx.parser.parse_model(example.model) for example in applying]
        if suitable := [model for model in models if _opset(model) in _OPSETS]:
            found[name] = suitable
    return found


@st.composite
def models(draw: st.DrawFn, name: str | None = None, max_steps: int = 3) -> onnx.ModelProto:
    """Valid models with static shapes.

    Args:
        name: Of the rewrite whose examples are taken; of any if None.
        max_steps: In front of the example, and as many behind it.
    """

    def choose(options: Any) -> Any:
        return draw(st.sampled_from(list(options)))

    def grown(*inputs: Sequence[int]) -> Graph:
        graph = Graph(_opset(example), choose, draw(st.integers(0, 999)))
        for shape in inputs:
            graph.input(shape)
        for _ in range(draw(st.integers(0, max_steps))):
            choose(STEPS)(graph, choose(graph.floats()))
        return graph

    example = choose(examples()[name or choose(sorted(examples()))])
    whole = _part(example, "example_")
    # What an index is the best of may tie in what random layers make, and rounding then decides.
    is_continuous = len(_floats(whole.graph.output)) == len(whole.graph.output)
    if is_continuous and (wanted := _floats(whole.graph.input)):
        front = grown(choose(SHAPES))
        given = [choose(front.floats()) for _ in wanted]  # before any is fitted: those must stay outputs
        made = [
            (_fitted(front, value, shape).name, name)
            for value, (name, shape) in zip(given, wanted.items(), strict=True)
        ]
        whole = compose.merge_models(
            _part(front.proto(), "front_"), whole, [(f"front_{a}", b) for a, b in made]
        )
    if read := _floats(whole.graph.output):
        behind = grown(*read.values())
        given = [(name, f"behind_{value.name}") for name, value in zip(read, behind.inputs, strict=True)]
        if behind.nodes:
            whole = compose.merge_models(whole, _part(behind.proto(), "behind_"), given)
    return whole


def _part(model: onnx.ModelProto, prefix: str) -> onnx.ModelProto:
    """A copy whose names no other part has; parts are joined at one IR version only."""
    part = compose.add_prefix(model, prefix)
    part.ir_version = _IR_VERSION
    return part


def _opset(model: onnx.ModelProto) -> int:
    return max((each.version for each in model.opset_import if each.domain in ("", "ai.onnx")), default=0)


def _floats(values: Sequence[onnx.ValueInfoProto]) -> dict[str, tuple[int, ...]]:
    """Shapes of the float32 tensors of known, nonzero size."""
    found = {}
    for value in values:
        tensor = value.type.tensor_type
        sizes = tuple(axis.dim_value for axis in tensor.shape.dim)
        if tensor.elem_type == onnx.TensorProto.FLOAT and tensor.HasField("shape") and all(sizes):
            found[value.name] = sizes
    return found


def _fitted(graph: Graph, x: Tensor, shape: Sequence[int]) -> Tensor:
    """A value of its own with the numbers of `x`, repeated or cut off, in a shape."""
    size, count = math.prod(shape), math.prod(x.shape)
    flat = graph.reshape(x, (count,))
    if count < size:
        times = -(-size // count)
        flat = graph.add("Tile", [flat, graph.constant([times], "int64")], (count * times,))
    if math.prod(flat.shape) > size:
        flat = graph.slice(flat, 0, 0, size)
    fitted = graph.reshape(flat, shape)
    # A reshape that an example begins with would swallow the one that nobody reads for its own sake.
    return graph.add("Tanh", [fitted], shape) if graph.choose([True, False]) else fitted
