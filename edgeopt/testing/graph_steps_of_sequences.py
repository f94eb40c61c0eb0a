"""Steps of a random graph that hold states or graphs: recurrences, If and Loop, transforms."""

from __future__ import annotations

import math

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

from edgeopt.testing.graph_steps import Step
from edgeopt.testing.graph_under_construction import Graph, Tensor


def recurrent(g: Graph, x: Tensor) -> None:
    """An LSTM or a GRU, of which one output is read."""
    if x.rank != 3:
        return
    steps, batch, features = x.shape
    operator, gates = g.choose([("LSTM", 4), ("GRU", 3)])
    weights = [g.weight(1, gates * 2, features, fan_in=features), g.weight(1, gates * 2, 2, fan_in=2)]
    outputs = g.add_many(operator, [x, *weights], [(steps, 1, batch, 2), (1, batch, 2)], hidden_size=2)
    read = g.choose(outputs)
    g.add("Neg", [read], read.shape)
    unread = [each for each in outputs if each is not read]
    g.read.update(each.name for each in g.choose([[], unread]))  # so that they are no outputs of the model


def unrolled_lstm(g: Graph, x: Tensor) -> None:
    """Cells that share their weights, one for each step of the first axis, in order or in reverse."""
    if x.rank != 3 or not 2 <= x.shape[0] <= 6:
        return
    steps, batch, features = x.shape
    hidden = 2
    w, r = g.weight(features, 4 * hidden, fan_in=features), g.weight(hidden, 4 * hidden, fan_in=hidden)
    bias = g.weight(4 * hidden)
    shape, wide = (batch, hidden), (batch, 4 * hidden)
    h: Tensor | str = g.constant(np.zeros(shape, np.float32))
    c: Tensor | str = h
    states = []
    for step in g.choose([range(steps), range(steps - 1, -1, -1)]):
        at = g.add("Gather", [x, g.constant(step, np.int64)], (batch, features), axis=0)
        products = [g.add("MatMul", [at, w], wide), g.add("MatMul", [h, r], wide)]
        total = g.add("Add", [g.add("Add", products, wide), bias], wide)
        i, f, n, o = g.split(total, 1, [hidden] * 4)
        kept = g.add("Mul", [g.add("Sigmoid", [f], shape), c], shape)
        written = g.add("Mul", [g.add("Sigmoid", [i], shape), g.add("Tanh", [n], shape)], shape)
        c = g.add("Add", [kept, written], shape)
        h = g.add("Mul", [g.add("Sigmoid", [o], shape), g.add("Tanh", [c], shape)], shape)
        states.append(h)
    if g.choose([False, True]):
        rows = [g.axes("Unsqueeze", state, [0], (1, *shape), 13) for state in states]
        g.add("Concat", rows, (len(rows), *shape), axis=0)


def constant_if(g: Graph, x: Tensor) -> None:
    """An If whose condition is constant, and whose branches read a value of the main graph."""
    branches = {
        name: helper.make_graph(
            [helper.make_node(operator, [x.name], [f"{name}{len(g.nodes)}"])],
            name,
            [],
            [helper.make_tensor_value_info(f"{name}{len(g.nodes)}", TensorProto.FLOAT, x.shape)],
        )
        for name, operator in (("then_branch", "Sigmoid"), ("else_branch", "Identity"))
    }
    g.read.add(x.name)
    g.add("If", [g.constant(g.choose([True, False]))], x.shape, **branches)


def short_loop(g: Graph, x: Tensor) -> None:
    """A Loop of three rounds."""
    if math.prod(x.shape) > 1024:
        return
    mark = f"_{len(g.nodes)}"
    body = helper.make_graph(
        [
            helper.make_node("Identity", [f"go{mark}"], [f"on{mark}"]),
            helper.make_node("Tanh", [f"v{mark}_in"], [f"t{mark}"]),
            helper.make_node("Add", [f"t{mark}", f"half{mark}"], [f"w{mark}"]),
        ],
        "body",
        [_info(f"i{mark}", TensorProto.INT64, ()), _info(f"go{mark}", TensorProto.BOOL, ()),
         _info(f"v{mark}_in", TensorProto.FLOAT, x.shape)],
        [_info(f"on{mark}", TensorProto.BOOL, ()), _info(f"w{mark}", TensorProto.FLOAT, x.shape)],
        [numpy_helper.from_array(np.asarray(0.5, np.float32), f"half{mark}")],
    )  # fmt: skip
    g.add("Loop", [g.constant(3, np.int64), g.constant(True), x], x.shape, body=body)


def transform(g: Graph, x: Tensor) -> None:
    """A DFT of the last axis."""
    if g.opset < 17 or x.rank != 2:
        return
    y = g.reshape(x, (*x.shape, 1))
    g.add("DFT", [y], (*x.shape, 2))


def _info(name: str, kind: int, shape: tuple[int, ...]) -> onnx.ValueInfoProto:
    return helper.make_tensor_value_info(name, kind, shape)


STEPS: tuple[Step, ...] = (recurrent, unrolled_lstm, constant_if, short_loop, transform)
