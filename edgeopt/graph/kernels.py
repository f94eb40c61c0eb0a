"""Models so small that their time tells one thing of a board: arithmetic, copying, or dispatching a node.

They go through the runtime and the measuring protocol that candidates go through, so what they tell is what a
candidate can have.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper

SIDE = 512
"""Of the square matrices: 1 MB each in float32, and 0.27 GFLOP, 50 ms on the slowest board there is."""

SHORT, LONG = 16, 272
"""Nodes of the two chains: the difference of their times is that of 256 nodes."""

OPSET, IR_VERSION = 13, 7
"""Old, so that every runtime takes them."""


@dataclass(frozen=True, slots=True)
class Kernel:
    """One model.

    Attributes:
        name: What it tells; a `base` is subtracted from what is built on it.
        content: The file.
        work: Operations, bytes copied, or nodes, of one inference beyond its base.
        base: Name of the kernel that does all but that work.
    """

    name: str
    content: bytes
    work: float
    base: str | None = None


@dataclass(frozen=True, slots=True)
class Group:
    """Kernels that are measured in turns, on the same inputs."""

    kernels: tuple[Kernel, ...]
    feeds: Mapping[str, NDArray[np.generic]]


def groups(copy_bytes: int) -> tuple[Group, ...]:
    """All of them.

    Args:
        copy_bytes: Of the block that is copied: many times the last cache, so that it comes from memory.
    """
    random = np.random.default_rng(0)
    square = random.standard_normal((SIDE, SIDE)).astype(np.float32)
    one = {"x": np.ones(1, np.float32)}
    count = copy_bytes // 4
    return (
        Group((Kernel("gemm_fp32", _gemm_fp32(square), 2 * SIDE**3),), {"x": square}),
        Group(
            (Kernel("gemm_int8", _gemm_int8(random), 2 * SIDE**3),),
            {"x": random.integers(0, 255, (SIDE, SIDE), np.uint8)},
        ),
        Group(
            (
                Kernel("fill", _copy(count, copied=False), 0),
                Kernel("copy", _copy(count, copied=True), 4 * count, "fill"),
            ),
            one,
        ),
        Group(
            (
                Kernel("short", _chain(SHORT), 0),
                Kernel("dispatch", _chain(LONG), LONG - SHORT, "short"),
            ),
            one,
        ),
    )


def _gemm_fp32(weight: NDArray[np.float32]) -> bytes:
    node = helper.make_node("MatMul", ["x", "w"], ["y"], name="gemm")
    return _model(
        [node], ("x", TensorProto.FLOAT, [SIDE, SIDE]), ("y", TensorProto.FLOAT, [SIDE, SIDE]), w=weight
    )


def _gemm_int8(random: np.random.Generator) -> bytes:
    weight = random.integers(-127, 127, (SIDE, SIDE), np.int8)
    node = helper.make_node("MatMulInteger", ["x", "w"], ["y"], name="gemm")
    return _model(
        [node], ("x", TensorProto.UINT8, [SIDE, SIDE]), ("y", TensorProto.INT32, [SIDE, SIDE]), w=weight
    )


def _copy(count: int, copied: bool) -> bytes:
    """Fill a block; copy it, or not; give back its end, so that nothing large leaves the runtime.

    Concat copies its inputs as memcpy does. The block is used after it, so it cannot be reused for the copy.
    """
    nodes = [helper.make_node("Expand", ["x", "shape"], ["block"], name="fill")]
    ends = ["block_end"]
    if copied:
        nodes.append(helper.make_node("Concat", ["block", "x"], ["copy"], name="copy", axis=0))
        nodes.append(helper.make_node("Slice", ["copy", "last", "past"], ["copy_end"], name="copy_end"))
        ends.append("copy_end")
    nodes.append(helper.make_node("Slice", ["block", "last", "past"], ["block_end"], name="block_end"))
    nodes.append(helper.make_node("Concat", ends, ["y"], name="ends", axis=0))
    return _model(
        nodes, ("x", TensorProto.FLOAT, [1]), ("y", TensorProto.FLOAT, [len(ends)]),
        shape=np.array([count], np.int64), last=np.array([-1], np.int64),
        past=np.array([np.iinfo(np.int64).max], np.int64),
    )  # fmt: skip


def _chain(length: int) -> bytes:
    """Nodes that do nothing to speak of, which no optimizer merges: sines of one number."""
    names = ["x", *(f"h{i}" for i in range(1, length)), "y"]
    nodes = [helper.make_node("Sin", [names[i]], [names[i + 1]], name=f"n{i}") for i in range(length)]
    return _model(nodes, ("x", TensorProto.FLOAT, [1]), ("y", TensorProto.FLOAT, [1]))


def _model(
    nodes: list[onnx.NodeProto],
    given: tuple[str, Any, list[int]],
    result: tuple[str, Any, list[int]],
    **constants: NDArray[Any],
) -> bytes:
    graph = helper.make_graph(
        nodes,
        "kernel",
        [helper.make_tensor_value_info(*given)],
        [helper.make_tensor_value_info(*result)],
        [numpy_helper.from_array(value, name) for name, value in constants.items()],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", OPSET)], ir_version=IR_VERSION)
    onnx.checker.check_model(model)
    return bytes(model.SerializeToString())
