"""Makes small model files for the tests of this folder."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
from numpy.typing import NDArray

from edgeopt.graph.model import Model, freeze, load
from edgeopt.testing.rewrites import run

RELU = """<ir_version: 8, opset_import: ["": 17]>
relu (float[1,4] x) => (float[1,4] y) { y = Relu(x) }"""


def save(path: Path, text: str | onnx.ModelProto) -> Path:
    proto = onnx.parser.parse_model(text) if isinstance(text, str) else text
    path.write_bytes(proto.SerializeToString())
    return path


def model(path: Path, text: str | onnx.ModelProto, **shapes: tuple[int, ...]) -> Model:
    """A loaded and frozen model."""
    return freeze(load(save(path, text)), shapes)


def outputs(content: bytes, **feeds: object) -> list[NDArray[np.generic]]:
    return list(run(content, {name: np.asarray(value) for name, value in feeds.items()}))


def with_external(folder: Path, location: str, *, rows: int = 64, data: bytes | None = None) -> Path:
    """A model that adds an external weight of `rows` floats; the data file is written if given."""
    weight = onnx.TensorProto(name="w", data_type=onnx.TensorProto.FLOAT, dims=[rows])
    weight.data_location = onnx.TensorProto.EXTERNAL
    weight.external_data.add(key="location", value=location)
    weight.external_data.add(key="length", value=str(rows * 4))
    value = onnx.helper.make_tensor_value_info
    graph = onnx.helper.make_graph(
        [onnx.helper.make_node("Add", ["x", "w"], ["y"])],
        "external",
        [value("x", onnx.TensorProto.FLOAT, [rows])],
        [value("y", onnx.TensorProto.FLOAT, [rows])],
        [weight],
    )
    proto = onnx.helper.make_model(graph, ir_version=8, opset_imports=[onnx.helper.make_opsetid("", 17)])
    if data is not None:
        (folder / location).write_bytes(data)
    return save(folder / "model.onnx", proto)
