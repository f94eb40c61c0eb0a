"""Write a convolution of few groups as one without.

    each group reads its own channels = all channels are read, the weights of the others being 0

Before:
    Conv<group=g>(x, W, b), g at most 4
After:
    Conv<group=1>(x, W', b)

Weights: W is (M, C/g, *kernel), W' (M, C, *kernel), with zeros.

Does not apply when:
    - there is one group, or more than 4 (more zeros than weights by far),
    - it is depthwise (one channel a group): runtimes have a kernel for that,
    - W is not constant.

It costs g times the multiplications; it is faster where the groups are so narrow that the runtime's kernel
for one is mostly idle.

Source: ONNX Conv-11 (group).
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial

import numpy as np
import onnx_ir
from numpy.typing import NDArray

from edgeopt.graph.constants import add_initializer, array_of
from edgeopt.graph.convolution import Geometry
from edgeopt.graph.matching import Found, NodeRule, Refusal, chain, made
from edgeopt.graph.rewrites import Example

ORDER = 82
EXACT = True
SITUATIONAL = True
RTOL = 1e-5

_MOST = 4


def look(graph: onnx_ir.Graph, node: onnx_ir.Node) -> Found | Refusal | None:
    """A Conv with groups."""
    if node.attributes.get_int("group", 1) == 1:
        return None
    geometry, weight = Geometry.of(node), array_of(node.inputs[1])
    if weight is None or geometry is None:
        return Refusal("its weight is not constant, or its padding is not known")
    if weight.shape[1] == 1:
        return Refusal("it is depthwise")
    if geometry.group > _MOST:
        return Refusal(f"it has more than {_MOST} groups")
    return chain(graph, (node,), partial(_build, graph, node, geometry, weight))


def _build(
    graph: onnx_ir.Graph, node: onnx_ir.Node, geometry: Geometry, weight: NDArray[np.generic]
) -> Sequence[onnx_ir.Node]:
    rows, members = weight.shape[0] // geometry.group, weight.shape[1]
    full = np.zeros((weight.shape[0], members * geometry.group, *weight.shape[2:]), weight.dtype)
    for index in range(geometry.group):
        own = slice(index * rows, (index + 1) * rows)
        full[own, index * members : (index + 1) * members] = weight[own]
    new = add_initializer(graph, f"{node.outputs[0].name}_weight", full)
    return [made("Conv", [node.inputs[0], new, *node.inputs[2:]], geometry.attributes() | {"group": 1})]


RULES = (NodeRule(look, ("Conv",)),)


def _example(body: str, becomes: tuple[str, ...] | None, reason: str = "") -> Example:
    return Example(
        f"""<ir_version: 8, opset_import: ["": 17]>
        agraph (float[1,4,3,3] x, float[4,2,1,1] given) => (float[1,4,3,3] y)
          <float[4,2,1,1] w = {{1, 2, 3, 4, 5, 6, 7, 8}}, float[4] b = {{0.5, -1, 2, 3}},
           float[4,1,1,1] d = {{1, 2, 3, 4}}>
        {{ {body} }}""",
        becomes,
        reason,
    )


EXAMPLES = (
    _example("c = Conv <group = 2> (x, w, b) y = Relu(c)", ("Conv", "Relu")),
    _example("y = Conv <group = 4> (x, d)", None, "depthwise"),
    _example("y = Conv <group = 2> (x, given)", None, "not constant"),
)
