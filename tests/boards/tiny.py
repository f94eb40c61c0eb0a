"""Tiny models and the artifacts made of them."""

from __future__ import annotations

from functools import cache
from pathlib import Path

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

from edgeopt.boards.board import Feeds
from edgeopt.core.artifact import Artifact
from edgeopt.core.digest import file_digest

WIDTH = 256
FEEDS: Feeds = {"x": np.ones((1, WIDTH), np.float32)}


@cache
def chain(layers: int) -> bytes:
    """`layers` multiplications of (1, 256) by (256, 256)."""
    weight = np.eye(WIDTH, dtype=np.float32) + 1e-3
    names = ["x", *(f"h{i}" for i in range(1, layers)), "y"]
    graph = helper.make_graph(
        [
            helper.make_node("MatMul", [names[i], f"w{i}"], [names[i + 1]], name=f"mm{i}")
            for i in range(layers)
        ],
        "chain",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, [1, WIDTH])],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, [1, WIDTH])],
        [numpy_helper.from_array(weight, f"w{i}") for i in range(layers)],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 13)], ir_version=8)
    onnx.checker.check_model(model)
    return model.SerializeToString()


def artifact(folder: Path, content: bytes, **options: object) -> Artifact:
    """A file and how to run it; one thread unless told otherwise."""
    path = folder / f"{abs(hash(content))}.onnx"
    path.write_bytes(content)
    settings = {"threads": 1} | options
    return Artifact("key", path, file_digest(path), len(content), session_options=settings)
