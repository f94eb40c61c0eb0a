"""Spliced files are byte for byte what protobuf writes, and over 2 GiB nothing is copied."""

from __future__ import annotations

import hashlib

import ml_dtypes
import numpy as np
import onnx
import onnx_ir
import pytest
from onnx import numpy_helper

from edgeopt.core.errors import ModelError
from edgeopt.graph.encoding import LEAST_BYTES, MAX_BYTES
from edgeopt.graph.serialize import to_bytes, to_proto, with_outline
from tests.graph.mobilenet import mobilenet_v2


def add(model: onnx_ir.Model, name: str, tensor: onnx_ir.TensorProtocol) -> None:
    model.graph.register_initializer(
        onnx_ir.Value(
            name=name,
            type=onnx_ir.TensorType(tensor.dtype),
            shape=onnx_ir.Shape(tensor.shape.numpy()),
            const_value=tensor,
        )
    )


@pytest.fixture
def large() -> onnx_ir.Model:
    """MobileNetV2 with weights of all sorts."""
    proto = mobilenet_v2()
    proto.producer_name, proto.model_version, proto.doc_string = "test", 3, "words"
    proto.metadata_props.add(key="a", value="b")
    proto.graph.initializer.append(onnx.helper.make_tensor("floats", 1, [4096], [1.0] * 4096))  # no raw data
    commented = proto.graph.initializer.add()
    commented.CopyFrom(numpy_helper.from_array(np.ones(4096, np.float32), "commented"))
    commented.doc_string = "why"
    model = onnx_ir.from_proto(proto)
    add(model, "transposed", onnx_ir.Tensor(np.arange(8192, dtype=np.float32).reshape(64, 128).T))
    add(model, "four_bits", onnx_ir.Tensor(np.ones(20_000, ml_dtypes.int4), dtype=onnx_ir.DataType.INT4))
    add(model, "bfloat", onnx_ir.Tensor(np.ones(5000, ml_dtypes.bfloat16), dtype=onnx_ir.DataType.BFLOAT16))
    add(model, "bools", onnx_ir.Tensor(np.ones(LEAST_BYTES, np.bool_)))
    add(model, "small", onnx_ir.Tensor(np.ones(3, np.int64)))
    add(model, "nothing", onnx_ir.Tensor(np.ones((0, 9), np.float32)))
    return model


def test_the_bytes_are_those_that_protobuf_writes(large: onnx_ir.Model) -> None:
    expected = to_proto(large).SerializeToString(deterministic=True)
    content = to_bytes(large)
    assert len(content) == len(expected)
    assert hashlib.sha256(content).digest() == hashlib.sha256(expected).digest()
    assert to_bytes(large) == content  # and the model is as it was


def test_the_outline_is_the_graph_without_large_weights(large: onnx_ir.Model) -> None:
    content, outline = with_outline(large)
    assert len(outline) < len(content) / 50
    whole, part = map(onnx.load_model_from_string, (content, outline))
    assert list(part.graph.node) == list(whole.graph.node)
    assert [tensor.name for tensor in part.graph.initializer] == [t.name for t in whole.graph.initializer]


def test_over_2_gib_is_refused_before_anything_is_copied() -> None:
    model = onnx_ir.from_proto(mobilenet_v2())
    others = to_bytes(model)
    lazy = np.zeros(MAX_BYTES // 2 + 1, np.float16)  # memory that is never touched is never taken
    add(model, "huge", onnx_ir.Tensor(lazy))
    with pytest.raises(ModelError, match="one file") as caught:
        to_bytes(model)
    assert len(caught.value.message.splitlines()) == 1
    with pytest.raises(ModelError, match="one file"):
        with_outline(model)
    del model.graph.initializers["huge"]
    assert to_bytes(model) == others  # what was taken out is back
