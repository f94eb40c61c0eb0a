"""Counting on a virtual board: a protocol, models that take long, and moments in mid-count."""

from __future__ import annotations

import contextlib
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import onnx
from onnx import TensorProto, helper

from edgeopt.boards.virtual.board import VirtualBoard
from edgeopt.core.errors import CandidateFailed
from edgeopt.core.measurement import Measurement, Protocol
from tests.boards.tiny import FEEDS

SCREEN = Protocol(
    "screen", processes=1, min_runs=64, window_s=2.0, slice_s=1.0, stop_ratio=None, deadline_s=120
)


def emulated(result: Measurement | CandidateFailed) -> Measurement:
    assert isinstance(result, Measurement), result
    return result


def squares(size: int, layers: int) -> bytes:
    """Multiplies a matrix of that size by itself so often: much work, small file."""
    names = ["x", *(f"h{i}" for i in range(1, layers)), "y"]
    shape = [size, size]
    graph = helper.make_graph(
        [helper.make_node("MatMul", [names[i], "x"], [names[i + 1]], name=f"mm{i}") for i in range(layers)],
        "squares",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, shape)],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, shape)],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 13)], ir_version=8)
    onnx.checker.check_model(model)
    return model.SerializeToString()


def counted(board: VirtualBoard, model) -> tuple[int, float]:
    board.forget()
    (result,) = board.measure([model], FEEDS, SCREEN)
    (known,) = board._known.values()
    return known.counts.instructions, emulated(result).p50_ms


@contextlib.contextmanager
def in_mid_count(folder: Path, act: Callable[[], object]) -> Iterator[None]:
    """Do something as soon as the plugin has begun a count."""
    failed: list[BaseException] = []

    def watch() -> None:
        try:
            end = time.monotonic() + 120
            while not list(folder.glob("*.part")):
                assert time.monotonic() < end
                time.sleep(0.05)
            act()
        except BaseException as error:
            failed.append(error)

    thread = threading.Thread(target=watch)
    thread.start()
    yield
    thread.join()
    assert not failed, failed
