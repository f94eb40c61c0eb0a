"""Compute a squeeze-and-excitation gate as matrix products.

    x * gate(W2 act(W1 mean(x) + b1) + b2), the mean being (N, C): a 1 x 1 Conv on one place is a product

Before:
    Mul(x, chain(GlobalAveragePool(x))), the chain being 1 x 1 Convs and element-wise functions of one input
After:
    Mul(x, Reshape(chain(Flatten(GlobalAveragePool(x))))), with Gemm in place of Conv

Weights: Conv W (M, C, 1, 1) becomes Gemm W (M, C) with transB, the same numbers; b is (M,).

Does not apply when:
    - the chain holds anything else, or a Conv with groups, another kernel or computed weights,
    - a value in the chain is read elsewhere too, or is an output of the model,
    - there is no Conv in the chain (nothing to gain), or a shape is not known,
    - the opset is below 7 (below 11 where a Conv has no bias): Gemm demands one.

Unlike Conv by Conv (conv_to_gemm) the whole chain has two axes, and one Reshape is left at its end.
In float32 on x86 it is as fast as before (0.98 to 1.01 times, paired runs).

Source: Hu et al. 2018, Squeeze-and-Excitation Networks, section 3; ONNX Conv-11, Gemm-13.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial

import numpy as np
import onnx_ir

from edgeopt.graph.constants import add_initializer, array_of, constant_of
from edgeopt.graph.convolution import FLOATS, Geometry
from edgeopt.graph.editing import opset_of
from edgeopt.graph.flops import sizes
from edgeopt.graph.matching import SHARED, Found, NodeRule, Refusal, before, chain, is_shared, made
from edgeopt.graph.rewrites import Example

ORDER = 50
EXACT = True
SITUATIONAL = True
RTOL = 1e-4

_UNARY = (
    "Relu", "Sigmoid", "HardSigmoid", "HardSwish", "LeakyRelu", "Clip", "Tanh", "Elu", "Softplus", "Softsign",
    "Neg", "Identity",
)  # fmt: skip
_LONGEST = 8


def look(graph: onnx_ir.Graph, node: onnx_ir.Node) -> Found | Refusal | None:
    """The product of a map and its gate."""
    gates = [before(node, position, ("Conv", *_UNARY)) for position in range(2)]
    for gate in gates:
        shape = sizes(gate.outputs[0]) if gate is not None else None
        if gate is None or shape is None or len(shape) < 3 or any(size != 1 for size in shape[2:]):
            continue
        return _gate(graph, gate, shape)
    return None


def _gate(graph: onnx_ir.Graph, last: onnx_ir.Node, written: Sequence[int]) -> Found | Refusal | None:
    """The chain that ends at the gate."""
    nodes = [last]
    while len(nodes) <= _LONGEST:
        earlier = before(nodes[0], 0, ("Conv", *_UNARY))
        if earlier is None:
            break
        nodes.insert(0, earlier)
    if before(nodes[0], 0, ("GlobalAveragePool", "ReduceMean")) is None:
        return None
    convs = [node for node in nodes if node.op_type == "Conv"]
    if not convs:
        return None
    if any(is_shared(node.outputs[0]) for node in nodes[:-1]):
        return SHARED
    for conv in convs:
        geometry = Geometry.of(conv)
        if geometry is None or not geometry.is_pointwise or geometry.group != 1:
            return Refusal("a Conv of the gate has groups, or a kernel other than 1 x 1")
        if array_of(conv.inputs[1]) is None or conv.inputs[0] is None or conv.inputs[0].dtype not in FLOATS:
            return Refusal("a weight of the gate is not a constant of floats")
        has_bias = len(conv.inputs) > 2 and conv.inputs[2] is not None
        if opset_of(conv) < (7 if has_bias else 11):
            return Refusal("Gemm does not broadcast its bias before opset 7, and needs one before 11")
    return chain(graph, nodes, partial(_build, graph, nodes, written))


def _build(
    graph: onnx_ir.Graph, nodes: Sequence[onnx_ir.Node], written: Sequence[int]
) -> Sequence[onnx_ir.Node]:
    value = nodes[0].inputs[0]
    shape, dtype = sizes(value), nodes[-1].outputs[0].dtype
    if shape is None:
        return []
    new = [made("Flatten", [value], {"axis": 1}, shape[:2], dtype)]
    for node in nodes:
        x, written_here = new[-1].outputs[0], (sizes(node.outputs[0]) or ())[:2]
        if node.op_type == "Conv":
            weight = constant_of(node.inputs[1])
            rows = add_initializer(graph, f"{node.outputs[0].name}_weight", weight.reshape(weight.shape[:2]))
            new.append(made("Gemm", [x, rows, *node.inputs[2:]], {"transB": 1}, written_here, dtype))
        else:
            new.append(made(node.op_type, [x, *node.inputs[1:]], node.attributes, written_here, dtype))
    target = add_initializer(graph, f"{nodes[-1].outputs[0].name}_shape", np.asarray(written, np.int64))
    return [*new, made("Reshape", [new[-1].outputs[0], target])]


RULES = (NodeRule(look, ("Mul",)),)


def _example(body: str, becomes: tuple[str, ...] | None, reason: str = "") -> Example:
    return Example(
        f"""<ir_version: 8, opset_import: ["": 17]>
        agraph (float[1,2,4,4] x) => (float[1,2,4,4] y)
          <float[1,2,1,1] w = {{1, 2}}, float[1] b = {{0.5}}, float[2,1,1,1] v = {{3, -2}},
           float[2,1,3,3] k = {{1, 2, 3, 4, 5, 6, 7, 8, 9, 1, 2, 3, 4, 5, 6, 7, 8, 9}}>
        {{ {body} }}""",
        becomes,
        reason,
    )


_GEMMS = ("GlobalAveragePool", "Flatten", "Gemm", "Relu", "Gemm", "Sigmoid", "Reshape", "Mul")

EXAMPLES = (
    _example(
        "p = GlobalAveragePool(x) c = Conv(p, w, b) r = Relu(c) d = Conv(r, v) s = Sigmoid(d) y = Mul(x, s)",
        _GEMMS,
    ),
    _example(
        "p = ReduceMean <axes = [2, 3]> (x) c = Conv(p, w) r = Relu(c) d = Conv(r, v) "
        "s = Sigmoid(d) y = Mul(s, x)",
        ("ReduceMean", *_GEMMS[1:]),
    ),
    _example("p = GlobalAveragePool(x) s = Sigmoid(p) y = Mul(x, s)", None),
    _example(
        "p = GlobalAveragePool(x) c = Conv(p, w) d = Conv(c, v) e = Add(d, c) s = Conv(c, v) y = Mul(e, s)",
        None,
        "elsewhere",
    ),
    _example(
        "p = GlobalAveragePool(x) c = Conv(p, w) s = Conv <pads = [1, 1, 1, 1]> (c, k) y = Mul(x, s)",
        None,
        "1 x 1",
    ),
)
