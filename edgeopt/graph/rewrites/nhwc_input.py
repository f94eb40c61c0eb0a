"""Take an image with its channels last, as cameras and decoders give it.

    x (N, C, H, W) = Transpose(x' (N, H, W, C))

Before:
    f(x), x (N, C, H, W); or g(Transpose(x)) to (N, H, W, C)
After:
    f(Transpose(x)), x (N, H, W, C); or g(x): where the graph itself puts the channels last, nothing is moved

Weights: none.

Does not apply when:
    - the input has not four axes, or its second is not the channels of an image (1 to 4, fewer than columns),
    - the input is an output of the model, too.

It changes the interface: only offered with `--allow-interface nhwc`. The Transpose is one copy less for a
caller whose data come in this order; where the runtime itself computes with channels last, as its int8
convolutions do, it cancels with the runtime's own.

Source: ONNX Transpose-13.
"""

from __future__ import annotations

from functools import partial

import onnx_ir

from edgeopt.graph.editing import made_transpose, permutation
from edgeopt.graph.flops import sizes
from edgeopt.graph.interface import change, change_of, put_first
from edgeopt.graph.matching import Found, Refusal
from edgeopt.graph.rewrites import Example

ORDER = 2  # behind uint8_input: bytes are what is moved
EXACT = True
RTOL = 0.0
INTERFACE = "nhwc"

LAST, FIRST = (0, 2, 3, 1), (0, 3, 1, 2)
MOST_CHANNELS = 4


class ChannelsLast:
    """A node that reads an image of the model's inputs."""

    def find(self, model: onnx_ir.Model, node: onnx_ir.Node) -> Found | Refusal | None:
        """See `edgeopt.graph.rewrites.Rule`."""
        refusal = None
        for value in node.inputs:
            if value is None or not value.is_graph_input() or value.is_initializer():
                continue
            changed = change_of(value)
            if value.graph is not model.graph or (changed is not None and changed.order is not None):
                continue
            if (why := _not_an_image(value)) is None:
                return Found((node,), partial(_replace, model.graph, value))
            refusal = refusal or Refusal(f"input {value.name}: {why}")
        return refusal


def _not_an_image(value: onnx_ir.Value) -> str | None:
    shape = sizes(value)
    if shape is None or len(shape) != 4:
        return "not an image of four axes"
    if not 1 <= shape[1] <= MOST_CHANNELS or shape[1] >= shape[3]:
        return "its second axis is not the channels of an image"
    return "it is an output of the model, too" if value.is_graph_output() else None


def _replace(graph: onnx_ir.Graph, value: onnx_ir.Value) -> list[onnx_ir.Node]:
    readers = list(value.uses())
    undone = [reader for reader, _ in readers if _is_last(reader, graph)]
    change(value, INTERFACE, order=LAST)
    for node in undone:
        node.outputs[0].replace_all_uses_with(value)
        graph.remove(node, safe=True)
    left = [(reader, position) for reader, position in readers if reader not in undone]
    if not left:
        return []
    new = made_transpose(value, FIRST)
    put_first(graph, [new], None)
    for reader, position in left:
        reader.replace_input_with(position, new.outputs[0])
    return [new]


def _is_last(node: onnx_ir.Node, graph: onnx_ir.Graph) -> bool:
    """Whether a node is a Transpose to channels last that the change makes superfluous."""
    if node.op_type != "Transpose" or node.domain or node.graph is not graph:
        return False
    return permutation(node) == list(LAST) and not node.outputs[0].is_graph_output()


RULES = (ChannelsLast(),)


def _example(
    body: str, becomes: tuple[str, ...] | None, reason: str = "", out: str = "1,3,4,5", given: str = "1,3,4,5"
) -> Example:
    return Example(
        f"""<ir_version: 8, opset_import: ["": 17]> agraph (float[{given}] x) => (float[{out}] y)
        <float[3,3,1,1] w = {{1, 2, 3, 4, 5, 6, 7, 8, 9}}> {{ {body} }}""",
        becomes,
        reason,
    )


EXAMPLES = (
    _example("y = Conv(x, w)", ("Transpose", "Conv")),
    _example("t = Transpose <perm = [0, 2, 3, 1]> (x) y = Relu(t)", ("Relu",), out="1,4,5,3"),
    _example(
        "t = Transpose <perm = [0, 2, 3, 1]> (x) r = Relu(t) "
        "u = Transpose <perm = [0, 3, 1, 2]> (r) y = Add(u, x)",
        ("Transpose", "Relu", "Transpose", "Add"),
    ),
    _example("y = Relu(x)", None, "channels", given="1,8,4,5", out="1,8,4,5"),
    _example("y = Relu(x)", None, "four axes", given="3,5", out="3,5"),
    _example("y = Transpose <perm = [0, 2, 3, 1]> (x)", ("Transpose", "Transpose"), out="1,4,5,3"),
)
