"""Foresees which nodes onnxruntime executes, after its own folding and fusing.

Source: onnxruntime `core/optimizer`: constant_folding, conv_bn_fusion, conv_activation_fusion,
gemm_activation_fusion, qdq_transformer/selectors_actions.

Not foreseen: NCHWc layout changes, attention and layer-normalization fusions, residual additions fused into
a convolution. Such nodes are counted as written.
"""

from __future__ import annotations

from collections.abc import Sequence

import onnx_ir

PRODUCTS = frozenset({"Conv", "ConvTranspose", "Gemm", "MatMul"})

ACTIVATIONS = frozenset({"Relu", "LeakyRelu", "Sigmoid", "Tanh", "Clip", "HardSigmoid"})
"""Functions that fold into the Conv or Gemm before them."""

QUANTIZABLE = PRODUCTS - {"ConvTranspose"} | {
    "Add", "Mul", "Sigmoid", "LeakyRelu", "Softmax", "AveragePool", "GlobalAveragePool", "MaxPool", "Concat",
    "Reshape", "Transpose", "Squeeze", "Unsqueeze", "Flatten", "Slice", "Gather", "Resize", "Split", "Where",
}  # fmt: skip
"""Operators that have an int8 kernel between DequantizeLinear and QuantizeLinear."""

NOT_CONSTANT = frozenset({
    "DequantizeLinear", "QuantizeLinear", "DynamicQuantizeLinear",
    "RandomNormal", "RandomUniform", "RandomNormalLike", "RandomUniformLike", "Multinomial", "Bernoulli",
})  # fmt: skip
"""Operators that are executed although all they read is constant."""


class Execution:
    """The nodes that run, and what each then reads and writes.

    Attributes:
        nodes: In topological order, without what was folded or fused into another.
        int8: Those that run as int8 kernels, together with the conversions around them.
    """

    def __init__(self, graph: onnx_ir.Graph, *, fused: bool) -> None:
        self.int8: set[onnx_ir.Node] = set()
        self._last: dict[onnx_ir.Node, onnx_ir.Node] = {}
        self._folded = self._constant(graph)
        self._gone = self._folded | {node for node in graph if node.op_type in ("Identity", "Dropout")}
        if fused:
            for node in graph:
                if node not in self._gone:
                    self._fuse_int8(node)
            for node in graph:
                if node not in self._gone and node not in self.int8:
                    self._fuse_float(node)
            self._gone |= {
                node for node in graph if node.op_type == "DequantizeLinear" and self._read_as_int8(node)
            }
        self.nodes = [node for node in graph if node not in self._gone]

    def inputs(self, node: onnx_ir.Node) -> Sequence[onnx_ir.Value | None]:
        """What a node reads: an int8 kernel reads the quantized values behind its inputs."""
        if node not in self.int8:
            return node.inputs
        return [_dequantized(value) or value for value in node.inputs]

    def outputs(self, node: onnx_ir.Node) -> Sequence[onnx_ir.Value]:
        """What a node writes: that of the last node fused into it."""
        return self._last.get(node, node).outputs

    def is_constant(self, value: onnx_ir.Value) -> bool:
        """Whether a value is the same in every inference."""
        producer = value.producer()
        return value.is_initializer() or (producer is not None and producer in self._folded)

    def _constant(self, graph: onnx_ir.Graph) -> set[onnx_ir.Node]:
        """Nodes evaluated once, when the session is made."""
        gone: set[onnx_ir.Node] = set()
        for node in graph:
            known = all(v is None or v.is_initializer() or v.producer() in gone for v in node.inputs)
            static = node.op_type in ("Shape", "Size") and _is_static(node.inputs[0])
            if (known and node.op_type not in NOT_CONSTANT and not _holds_graph(node)) or static:
                gone.add(node)
        return gone

    def _fuse_int8(self, node: onnx_ir.Node) -> None:
        data = [v for v in node.inputs if v is not None and v.dtype is onnx_ir.DataType.FLOAT]
        if node.op_type in PRODUCTS:
            data = data[:2]
        if node.op_type not in QUANTIZABLE or not data or any(_dequantized(v) is None for v in data):
            return
        end = _only_user(node)
        clamp = end if end is not None and end.op_type in ("Relu", "Clip") else None
        if clamp is not None:
            end = _only_user(clamp)
        if end is not None and end.op_type == "QuantizeLinear":
            self._gone |= {end} if clamp is None else {end, clamp}
            self._last[node] = end
        elif node.op_type != "MatMul":  # a MatMul has a kernel from int8 to float
            return
        self.int8.add(node)

    def _fuse_float(self, node: onnx_ir.Node) -> None:
        if node.op_type not in ("Conv", "Gemm"):
            return
        after = _only_user(node)
        if node.op_type == "Conv" and after is not None and after.op_type == "BatchNormalization":
            self._absorb(node, after)
            after = _only_user(after)
        if after is not None and after.op_type in ACTIVATIONS and after not in self.int8:
            self._absorb(node, after)

    def _absorb(self, node: onnx_ir.Node, after: onnx_ir.Node) -> None:
        self._gone.add(after)
        self._last[node] = after

    def _read_as_int8(self, dequantize: onnx_ir.Node) -> bool:
        """Whether every reader takes the quantized value itself."""
        output = dequantize.outputs[0]
        readers = {use.node for use in output.uses()}
        return not output.is_graph_output() and bool(readers) and readers <= self.int8


def _dequantized(value: onnx_ir.Value | None) -> onnx_ir.Value | None:
    """The quantized value behind a DequantizeLinear; None for any other value."""
    producer = value.producer() if value is not None else None
    return producer.inputs[0] if producer is not None and producer.op_type == "DequantizeLinear" else None


def _only_user(node: onnx_ir.Node) -> onnx_ir.Node | None:
    """The one node that reads the node's first output; None where others see that output too."""
    output = node.outputs[0]
    uses = list(output.uses())
    return uses[0].node if len(uses) == 1 and not output.is_graph_output() else None


def _is_static(value: onnx_ir.Value | None) -> bool:
    return value is not None and value.shape is not None and value.shape.is_static()


def _holds_graph(node: onnx_ir.Node) -> bool:
    kinds = (onnx_ir.AttributeType.GRAPH, onnx_ir.AttributeType.GRAPHS)
    return any(attribute.type in kinds for attribute in node.attributes.values())
