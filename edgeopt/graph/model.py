"""Loads ONNX models from files that nobody vouches for.

`load` reads, checks and normalises: external data is embedded, local functions are inlined, and an
initializer that old exporters also list as an input is a constant. What passes can be run; what does not is
a short `ModelError`, and nothing is left behind.
"""

from __future__ import annotations

import hashlib
import stat
from dataclasses import dataclass
from pathlib import Path

import onnx
import onnx_ir
from google.protobuf.message import DecodeError, EncodeError  # type: ignore[import-untyped]
from onnx_ir.passes import common as passes

from edgeopt.core.errors import ConfigError, ModelError
from edgeopt.core.tensor import TensorSpec
from edgeopt.graph.external import embed
from edgeopt.graph.foreign import refuse_foreign
from edgeopt.graph.freeze import freeze
from edgeopt.graph.limits import Limits
from edgeopt.graph.operators import check_operators, is_quantized
from edgeopt.graph.opset import at_least_opset
from edgeopt.graph.serialize import check_supported, serialize, to_bytes
from edgeopt.graph.shapes import without_weights

__all__ = ["Limits", "Model", "at_least_opset", "check_supported", "freeze", "load", "serialize", "to_bytes"]


@dataclass(frozen=True, slots=True)
class Model:
    """A model that was loaded and checked.

    Attributes:
        ir: The graph. Shared and not to be changed: `ir.clone()` gives a copy that shares the weights.
        path: The file, absolute.
        digest: SHA-256 of the file; with external data, of the file and that.
        inputs: In the model's order; sizes left open are None until `freeze`.
        outputs: In the model's order.
        opset: Version of the default operator set.
        ir_version: As the file says.
        is_quantized: It holds quantized operators already (QDQ, QOperator, weight-only).
    """

    ir: onnx_ir.Model
    path: Path
    digest: str
    inputs: tuple[TensorSpec, ...]
    outputs: tuple[TensorSpec, ...]
    opset: int
    ir_version: int
    is_quantized: bool


def load(path: Path, limits: Limits = Limits()) -> Model:  # noqa: B008 - frozen, so safe to share
    """Read and check an ONNX file.

    Raises:
        ConfigError: There is no such file.
        ModelError: It is no ONNX model, or not one that edgeopt can run; the message says why.
    """
    content = _read(path, limits)
    proto = _parse(content, path)
    try:
        return _build(proto, content, path.absolute(), limits)
    except _MALFORMED as error:
        reason = str(error.__cause__ or error).splitlines()
        raise ModelError(f"{path} cannot be read: {reason[0] if reason else type(error).__name__}") from error


_MALFORMED = (
    onnx_ir.serde.SerdeError, TypeError, ValueError, KeyError, IndexError, AttributeError, RuntimeError
)  # fmt: skip
"""What onnx and onnx_ir raise on graphs that make no sense (text that is not UTF-8, unknown types)."""


def _build(proto: onnx.ModelProto, content: bytes, path: Path, limits: Limits) -> Model:
    check_operators(proto, path, limits)
    external_digest = embed(proto, path.parent, limits)
    _check(proto, path)
    graph = _normalise(proto)
    digest = hashlib.sha256(content)
    if external_digest:
        digest.update(external_digest)
    return Model(
        ir=graph,
        path=path,
        digest=digest.hexdigest(),
        inputs=tuple(spec(value) for value in graph.graph.inputs),
        outputs=tuple(spec(value) for value in graph.graph.outputs),
        opset=graph.graph.opset_imports.get("", 1),
        ir_version=int(proto.ir_version),
        is_quantized=is_quantized(graph),
    )


def spec(value: onnx_ir.Value) -> TensorSpec:
    """Name, type and shape of a graph's input or output (the checker has seen to it that it has a rank).

    Raises:
        ModelError: It is not a tensor, or has no type.
    """
    if value.dtype is None or not isinstance(value.type, onnx_ir.TensorType):
        raise ModelError(
            f"{value.name!r} is not a tensor (a sequence, map or optional value, or it has no type)",
            hint="export the model with tensors only (scikit-learn: options={'zipmap': False})",
        )
    try:
        dtype = value.dtype.numpy().name
    except TypeError as error:
        raise ModelError(f"{value.name!r} has a type that numpy does not know: {value.dtype}") from error
    shape = value.shape if value.shape is not None else ()
    sizes = tuple(size if isinstance(size, int) else None for size in shape)
    return TensorSpec(str(value.name), dtype, sizes)


def _read(path: Path, limits: Limits) -> bytes:
    try:
        status = path.stat()
    except (FileNotFoundError, NotADirectoryError) as error:
        raise ConfigError(f"no such model file: {path}") from error
    if stat.S_ISDIR(status.st_mode):
        raise ModelError(f"{path} is a folder", hint="name the .onnx file in it")
    if not stat.S_ISREG(status.st_mode):
        raise ModelError(f"{path} is not a regular file")
    refuse_foreign(path)
    if status.st_size > limits.max_bytes:
        raise ModelError(
            f"{path} is {status.st_size / 2**30:.2f} GiB, more than the "
            f"{limits.max_bytes / 2**30:.2f} GiB that one ONNX file can hold"
        )
    if status.st_size == 0:
        raise ModelError(f"{path} is empty")
    return path.read_bytes()


def _parse(content: bytes, path: Path) -> onnx.ModelProto:
    proto = onnx.ModelProto()
    try:
        proto.ParseFromString(content)
    except DecodeError as error:
        raise ModelError(f"{path} is not an ONNX model, or it is truncated") from error
    if not proto.HasField("graph") or not (proto.graph.node or proto.graph.output) or not proto.opset_import:
        raise ModelError(f"{path} is not an ONNX model (no graph or no operator set in it)")
    if not proto.graph.output:
        raise ModelError(f"{path} has no outputs: it computes nothing")
    return proto


def _check(proto: onnx.ModelProto, path: Path) -> None:
    try:
        onnx.checker.check_model(proto)
    except (onnx.checker.ValidationError, EncodeError, ValueError, RuntimeError) as error:
        reason = next((line for line in str(error).splitlines() if line.strip()), type(error).__name__)
        raise ModelError(f"{path} is not a valid ONNX model: {reason}") from error


def _normalise(proto: onnx.ModelProto) -> onnx_ir.Model:
    _name_nodes(proto.graph)
    _open_negative_sizes(proto.graph)
    model = onnx_ir.from_proto(proto)
    if model.functions:
        model = passes.InlinePass()(model).model
        model.functions.clear()
        passes.NameFixPass()(model)
    passes.RemoveInitializersFromInputsPass()(model)
    without_weights(model)  # what cannot be written back is found out here
    return model


def _name_nodes(graph: onnx.GraphProto) -> None:
    """Name nameless nodes by operator and index (`Conv_3`), before onnx_ir numbers them (`node_3`)."""
    taken = {node.name for node in graph.node}
    for index, node in enumerate(graph.node):
        name, number = node.name or f"{node.op_type}_{index}", 1
        while not node.name and name in taken:
            number += 1
            name = f"{node.op_type}_{index}_{number}"
        taken.add(name)
        node.name = name


def _open_negative_sizes(graph: onnx.GraphProto) -> None:
    """Take -1 as a size that is left open, as runtimes do: some exporters write it."""
    for value in (*graph.input, *graph.output, *graph.value_info):
        for dimension in value.type.tensor_type.shape.dim:
            if dimension.dim_value < 0:
                dimension.Clear()
