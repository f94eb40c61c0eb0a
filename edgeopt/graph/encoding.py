"""Encodes a model as protobuf without copying large weights: they are spliced in between the small parts.

onnx_ir and protobuf copy every weight twice. Here the graph is encoded with an empty tensor in the place of
each large weight, and the file is put together once from that and the weights' own memory. The bytes are
those that protobuf would write: fields in the order of their numbers.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager

import numpy as np
import onnx
import onnx_ir

LEAST_BYTES = 4096
"""Smaller weights are encoded with the rest."""

MAX_BYTES = (1 << 31) - 1
"""Of a protobuf message."""

_GRAPH, _INITIALIZER, _RAW_DATA = 7, 5, 9
"""Numbers of ModelProto.graph, GraphProto.initializer and TensorProto.raw_data. Source: onnx.proto."""

_BEFORE_GRAPH = ("ir_version", "producer_name", "producer_version", "domain", "model_version", "doc_string")
_BEFORE_INITIALIZER = ("node", "name")
"""Fields with smaller numbers."""

Part = bytes | memoryview


def encode(model: onnx_ir.Model, to_proto: Callable[[onnx_ir.Model], onnx.ModelProto]) -> tuple[bytes, bytes]:
    """The content of a model's file, and the same with all large weights empty: enough to check the graph.

    Args:
        model: The caller's own: its large weights are taken out meanwhile, and then put back.
        to_proto: Makes the message.

    Raises:
        ValueError: It has more than `MAX_BYTES`.
    """
    with _without_large(model) as large:
        size = sum(tensor.nbytes for tensor in large.values())
        if size > MAX_BYTES:  # nothing is copied in vain
            raise ValueError(f"its weights have {size / 2**30:.2f} GiB, and one file holds less than 2")
        proto = to_proto(model)
    outline: bytes = proto.SerializeToString(deterministic=True)
    if not large:
        return outline, outline
    parts = _parts(proto, large)
    if (size := sum(len(part) for part in parts)) > MAX_BYTES:
        raise ValueError(f"it has {size / 2**30:.2f} GiB, and one file holds less than 2")
    return b"".join(parts), outline


@contextmanager
def _without_large(model: onnx_ir.Model) -> Iterator[Mapping[str, onnx_ir.TensorProtocol]]:
    """Empty tensors stand for the large weights while the block runs, which is given the weights by name."""
    replaced: dict[str, tuple[onnx_ir.Value, onnx_ir.TensorProtocol]] = {}
    try:
        for name, value in model.graph.initializers.items():
            tensor = value.const_value
            if tensor is not None and _is_plain(tensor):
                replaced[name] = value, tensor
                value.const_value = onnx_ir.Tensor(np.empty(0, np.uint8), name=name)
        yield {name: tensor for name, (_, tensor) in replaced.items()}
    finally:
        for value, tensor in replaced.values():
            value.const_value = tensor


def _is_plain(tensor: onnx_ir.TensorProtocol) -> bool:
    """Whether a tensor is large, and nothing but a type, sizes and bytes."""
    if tensor.nbytes < LEAST_BYTES or tensor.doc_string or tensor.metadata_props or sys.byteorder != "little":
        return False
    if isinstance(tensor, onnx_ir.TensorProtoTensor):
        return bool(tensor.raw.HasField("raw_data"))
    return isinstance(tensor, onnx_ir.Tensor)


def _parts(proto: onnx.ModelProto, large: Mapping[str, onnx_ir.TensorProtocol]) -> list[Part]:
    """What the file consists of; `proto` is used up."""
    graph = proto.graph
    tensors: list[Part] = []
    for tensor in graph.initializer:
        known = large.get(tensor.name)
        parts = (
            [tensor.SerializeToString(deterministic=True)] if known is None else _tensor(tensor.name, known)
        )
        tensors += [_head(_INITIALIZER, sum(map(len, parts))), *parts]
    del graph.initializer[:]
    before, after = _split(graph, _BEFORE_INITIALIZER)
    size = len(before) + sum(map(len, tensors)) + len(after)
    proto.ClearField("graph")
    head, tail = _split(proto, _BEFORE_GRAPH)
    return [head, _head(_GRAPH, size), before, *tensors, after, tail]


def _split(message: onnx.ModelProto | onnx.GraphProto, first: tuple[str, ...]) -> tuple[bytes, bytes]:
    """A message's bytes, those of the fields `first` apart; the message loses these."""
    whole: bytes = message.SerializeToString(deterministic=True)
    for field in first:
        message.ClearField(field)
    after: bytes = message.SerializeToString(deterministic=True)
    return whole[: len(whole) - len(after)], after


def _tensor(name: str, tensor: onnx_ir.TensorProtocol) -> list[Part]:
    described = onnx.TensorProto(name=name, data_type=tensor.dtype.value, dims=tensor.shape.numpy())
    content = _content(tensor)
    return [described.SerializeToString(deterministic=True), _head(_RAW_DATA, len(content)), content]


def _content(tensor: onnx_ir.TensorProtocol) -> Part:
    """The bytes of a tensor: its own memory, where they lie there as they are written."""
    if isinstance(tensor, onnx_ir.Tensor) and tensor.dtype.bitwidth >= 8:
        array = tensor.numpy()
        if array.flags.c_contiguous:
            return array.reshape(-1).view(np.uint8).data
    return tensor.tobytes()


def _head(field: int, length: int) -> bytes:
    """What precedes a length-delimited field. Source: protobuf's encoding guide."""
    written = bytearray([field << 3 | 2])
    while length >= 0x80:
        written.append(length & 0x7F | 0x80)
        length >>= 7
    written.append(length)
    return bytes(written)
