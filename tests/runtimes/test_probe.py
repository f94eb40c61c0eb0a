"""A model that kills the runtime is one failed candidate, not the end of the study."""

from __future__ import annotations

import os
import signal
import threading
from pathlib import Path

import onnx
import pytest
from onnx import TensorProto, helper

from edgeopt.core.errors import CandidateFailed
from edgeopt.runtimes.probe import Probe


@pytest.fixture
def model(tmp_path: Path) -> Path:
    x, y = (helper.make_tensor_value_info(name, TensorProto.FLOAT, [1, 4]) for name in "xy")
    graph = helper.make_graph([helper.make_node("Relu", ["x"], ["y"])], "g", [x], [y])
    path = tmp_path / "model.onnx"
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8), path)
    return path


def test_a_good_model_passes_again_and_again(model: Path) -> None:
    with Probe() as probe:
        for _ in range(3):
            probe.check(model, {"threads": 1})


def test_litert_models_are_loaded_by_litert(model: Path) -> None:
    files = Path(__file__).parent.parent / "fixtures" / "litert"
    with Probe() as probe:
        probe.check(files / "conv.tflite", {"threads": 1}, "litert")
        with pytest.raises(CandidateFailed, match=r"LiteRT refuses the model: .*ONNX_DET"):
            probe.check(files / "custom.tflite", {}, "litert")
        probe.check(model, {"threads": 1})


def test_a_model_that_the_runtime_refuses_fails_with_its_reason(tmp_path: Path, model: Path) -> None:
    (tmp_path / "bad.onnx").write_bytes(b"hello")
    with Probe() as probe:
        with pytest.raises(CandidateFailed, match="refuses"):
            probe.check(tmp_path / "bad.onnx", {})
        probe.check(model, {})


def test_a_child_that_dies_is_named_with_its_signal_and_the_next_one_works(
    model: Path, tmp_path: Path
) -> None:
    """A FIFO in the place of the model holds the child in the middle of loading, where it is killed."""
    fifo = tmp_path / "stuck.onnx"
    os.mkfifo(fifo)
    with Probe() as probe:
        probe.check(model, {})
        child = probe._child
        assert child is not None
        killer = threading.Timer(1.0, os.kill, (child.pid, signal.SIGKILL))
        killer.start()
        with pytest.raises(CandidateFailed, match=r"crashes .*signal 9"):
            probe.check(fifo, {})
        killer.join()
        probe.check(model, {})


def test_closing_ends_the_child(model: Path) -> None:
    probe = Probe()
    probe.check(model, {})
    child = probe._child
    assert child is not None
    probe.close()
    assert child.returncode == 0
