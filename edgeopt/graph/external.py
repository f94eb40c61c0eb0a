"""External data: tensors that an ONNX file keeps in files beside it.

What such a file names is not trusted: only regular files in the model's own folder are read, through no
symbolic link, and never more than the limits allow.
"""

from __future__ import annotations

import hashlib
import math
import os
import stat
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path, PurePosixPath, PureWindowsPath

import onnx

from edgeopt.core.errors import ModelError
from edgeopt.graph.limits import Limits

EXTERNAL = onnx.TensorProto.EXTERNAL


@dataclass(frozen=True, slots=True)
class _Reference:
    """One external tensor and where its bytes are."""

    tensor: onnx.TensorProto
    file: Path
    offset: int
    length: int


def embed(proto: onnx.ModelProto, folder: Path, limits: Limits) -> bytes:
    """Read all external tensors of `proto` into it.

    Args:
        proto: Changed in place; afterwards it refers to no file.
        folder: Of the model file, which locations are relative to.
        limits: Bounds the model file and the external data together.

    Returns:
        SHA-256 digest of the external bytes in the order of the tensors; empty if there are none.

    Raises:
        ModelError: A location is absolute, leaves the folder or passes a symbolic link; a file is missing
            or too short; or all together is too large.
    """
    references = [_locate(tensor, folder) for tensor in tensors(proto) if tensor.data_location == EXTERNAL]
    total = proto.ByteSize() + sum(reference.length for reference in references)
    if total > limits.max_bytes:
        raise ModelError(
            f"the model and its external data are {total / 2**30:.2f} GiB, "
            f"more than the {limits.max_bytes / 2**30:.2f} GiB that edgeopt reads"
        )
    digest = hashlib.sha256()
    for reference in references:
        content = _read(reference)
        digest.update(content)
        reference.tensor.raw_data = content
        reference.tensor.data_location = onnx.TensorProto.DEFAULT
        del reference.tensor.external_data[:]
    return digest.digest() if references else b""


def tensors(proto: onnx.ModelProto) -> Iterator[onnx.TensorProto]:
    """Every tensor of a model: initializers and attributes, in subgraphs and functions too."""
    yield from _graph_tensors(proto.graph)
    for function in proto.functions:
        for node in function.node:
            yield from _node_tensors(node)
        for attribute in function.attribute_proto:
            yield from _attribute_tensors(attribute)


def _graph_tensors(graph: onnx.GraphProto) -> Iterator[onnx.TensorProto]:
    yield from graph.initializer
    for sparse in graph.sparse_initializer:
        yield from (sparse.values, sparse.indices)
    for node in graph.node:
        yield from _node_tensors(node)


def _node_tensors(node: onnx.NodeProto) -> Iterator[onnx.TensorProto]:
    for attribute in node.attribute:
        yield from _attribute_tensors(attribute)


def _attribute_tensors(attribute: onnx.AttributeProto) -> Iterator[onnx.TensorProto]:
    if attribute.HasField("t"):
        yield attribute.t
    yield from attribute.tensors
    if attribute.HasField("sparse_tensor"):
        yield from (attribute.sparse_tensor.values, attribute.sparse_tensor.indices)
    for graph in (*([attribute.g] if attribute.HasField("g") else []), *attribute.graphs):
        yield from _graph_tensors(graph)


def _locate(tensor: onnx.TensorProto, folder: Path) -> _Reference:
    fields = {entry.key: entry.value for entry in tensor.external_data}
    location = fields.get("location", "")
    path, windows = PurePosixPath(location), PureWindowsPath(location)
    if not location or "\0" in location:
        raise ModelError(f"tensor {tensor.name!r} says no location for its external data")
    if path.is_absolute() or windows.is_absolute() or windows.drive or ".." in (*path.parts, *windows.parts):
        raise ModelError(
            f"external data of {tensor.name!r} is at {location!r}, outside the model's folder",
            hint="save the model with its data beside it: onnx.save_model(..., location='weights.bin')",
        )
    file = folder
    for part in path.parts:
        file = file / part
        if file.is_symlink():
            raise ModelError(
                f"external data of {tensor.name!r}: {file} is a symbolic link",
                hint="copy the file into the model's folder",
            )
    if not file.is_file():
        raise ModelError(f"external data of {tensor.name!r} is missing: {file}")
    if not file.resolve().is_relative_to(folder.resolve()):
        raise ModelError(f"external data of {tensor.name!r} is outside the model's folder: {file}")
    try:
        offset = int(fields.get("offset") or 0)
        length = int(fields["length"]) if fields.get("length") else _expected_bytes(tensor)
    except ValueError as error:
        raise ModelError(f"external data of {tensor.name!r} has no valid offset and length") from error
    if offset < 0 or length != _expected_bytes(tensor):
        raise ModelError(
            f"external data of {tensor.name!r} says {length} bytes at {offset}, "
            f"its shape needs {_expected_bytes(tensor)}"
        )
    if offset + length > file.stat().st_size:
        raise ModelError(f"external data of {tensor.name!r}: {file} is too short (truncated?)")
    return _Reference(tensor, file, offset, length)


def _expected_bytes(tensor: onnx.TensorProto) -> int:
    """Bytes of a tensor's content; 4-bit and smaller types are packed."""
    import onnx_ir

    try:
        bits = onnx_ir.DataType(tensor.data_type).itemsize * 8
    except (ValueError, TypeError) as error:
        raise ModelError(f"tensor {tensor.name!r} has a type that cannot be external") from error
    if any(size < 0 for size in tensor.dims):
        raise ModelError(f"tensor {tensor.name!r} has a negative size")
    return math.ceil(math.prod(int(size) for size in tensor.dims) * bits / 8)


def _read(reference: _Reference) -> bytes:
    # O_NOFOLLOW: the file may have been replaced by a link since it was checked.
    descriptor = os.open(reference.file, os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC)
    with os.fdopen(descriptor, "rb") as stream:
        if not stat.S_ISREG(os.fstat(descriptor).st_mode):
            raise ModelError(f"{reference.file} is not a regular file")
        stream.seek(reference.offset)
        content = stream.read(reference.length)
    if len(content) != reference.length:
        raise ModelError(f"external data of {reference.tensor.name!r}: {reference.file} is too short")
    return content
