"""Writes models: the lowest IR version and the fewest operator sets that a graph needs.

onnx writes its newest IR version by default, which runtimes on boards refuse.
"""

from __future__ import annotations

from pathlib import Path

import onnx
import onnx_ir
from google.protobuf.message import EncodeError  # type: ignore[import-untyped]

from edgeopt.core.errors import ModelError
from edgeopt.core.files import write_atomically
from edgeopt.graph.encoding import encode

TAG_PREFIXES = ("edgeopt.", "pkg.onnxscript.rewriter.")
"""Metadata of ours: of no use to a runtime, and not to be found in older IR versions."""

LOWEST_IR_VERSION = 4
"""From here on an initializer need not be a graph input too."""

_DTYPE_IR_VERSION = {
    "FLOAT8E4M3FN": 9, "FLOAT8E4M3FNUZ": 9, "FLOAT8E5M2": 9, "FLOAT8E5M2FNUZ": 9,
    "INT4": 10, "UINT4": 10, "FLOAT4E2M1": 11, "FLOAT8E8M0": 12, "INT2": 13, "UINT2": 13,
}  # fmt: skip
"""Source: `onnx.proto`, enum Version and the comments at TensorProto.DataType."""


def needed_ir_version(model: onnx_ir.Model) -> int:
    """The lowest ONNX IR version that has all that `model` uses."""
    versions = onnx.helper.OP_SET_ID_VERSION_MAP
    needed = [LOWEST_IR_VERSION]
    for domain, version in used_opsets(model).items():
        needed.append(versions.get((domain or "ai.onnx", version), 0))
    if model.functions:
        needed.append(8)
    dtypes = {value.dtype for value in _values(model)}
    needed += [_DTYPE_IR_VERSION.get(dtype.name, 0) for dtype in dtypes if dtype is not None]
    return max(needed)


def used_opsets(model: onnx_ir.Model) -> dict[str, int]:
    """The operator sets that nodes use, and the default one."""
    used = {node.domain for node in model.graph.all_nodes()} | {""}
    for function in model.functions.values():
        used |= {node.domain for node in function.all_nodes()} | {function.domain}
    return {domain: version for domain, version in model.graph.opset_imports.items() if domain in used}


def to_proto(model: onnx_ir.Model) -> onnx.ModelProto:
    """The model as protobuf, at its lowest IR version, without edgeopt's own metadata; `model` is kept."""
    proto = onnx_ir.to_proto(model)
    proto.ir_version = needed_ir_version(model)
    del proto.opset_import[:]
    for domain, version in sorted(used_opsets(model).items()):
        proto.opset_import.add(domain=domain, version=version)
    for node in proto.graph.node:
        kept = [entry for entry in node.metadata_props if not entry.key.startswith(TAG_PREFIXES)]
        del node.metadata_props[:]
        node.metadata_props.extend(kept)
    return proto


def to_bytes(model: onnx_ir.Model) -> bytes:
    """The model as one self-contained file's content; the same model always gives the same bytes.

    Raises:
        ModelError: Larger than protobuf allows (2 GiB).
    """
    return with_outline(model.clone())[0]  # others may read it meanwhile


def with_outline(model: onnx_ir.Model) -> tuple[bytes, bytes]:
    """`to_bytes`, and the same without the content of large weights: it is soon checked (`onnx.checker`).

    Args:
        model: The caller's own: weights are taken out of it while it is encoded, and then put back.

    Raises:
        ModelError: Larger than protobuf allows (2 GiB).
    """
    try:
        return encode(model, to_proto)
    except (ValueError, EncodeError, onnx_ir.serde.SerdeError) as error:
        raise ModelError(f"the model cannot be written as one file: {error}") from error


def serialize(model: onnx_ir.Model, path: Path) -> None:
    """Write the model to `path`, wholly or not at all.

    Raises:
        ModelError: Larger than protobuf allows (2 GiB).
        EdgeoptError: Disk full, permission; nothing is left behind.
    """
    write_atomically(path, to_bytes(model))


def check_supported(model: onnx_ir.Model, max_opset: int, max_ir: int, runtime: str) -> None:
    """Check that a board's runtime reads the model.

    Args:
        model: As it would be written.
        max_opset: Newest default operator set that the runtime knows.
        max_ir: Newest IR version that it knows.
        runtime: Its name and version, for the message (`onnxruntime 1.16.3 on kitchen-pi`).

    Raises:
        ModelError: Too new; names both sides.
    """
    opset, ir_version = model.graph.opset_imports.get("", 1), needed_ir_version(model)
    if opset > max_opset or ir_version > max_ir:
        raise ModelError(
            f"the model needs opset {opset} and IR version {ir_version}; {runtime} reads at most "
            f"opset {max_opset} and IR version {max_ir}",
            hint=f"export the model with opset {max_opset} or lower, or update the runtime on the board",
        )


def _values(model: onnx_ir.Model) -> list[onnx_ir.Value]:
    values: list[onnx_ir.Value] = []
    for graph in model.graphs():
        values += [*graph.inputs, *graph.initializers.values()]
        values += [output for node in graph for output in node.outputs]
    return values
