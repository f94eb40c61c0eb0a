"""`edgeopt measure` on LiteRT files."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import onnx.parser
import pytest

from edgeopt.boards import profiles
from edgeopt.core.measurement import Protocol
from tests.boards.test_runner_litert import python_with
from tests.cli.conftest import Ran

FILES = Path(__file__).parent.parent / "fixtures" / "litert"
CONV = FILES / "conv.tflite"

ONNX = """<ir_version: 8, opset_import: ["" : 17]>
net (float[1, 8, 8, 3] img) => (float[1, 8, 8, 3] y) { y = Relu(img) }"""


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    """The real board and the real runner, for a moment each."""
    protocol = Protocol(
        "final", processes=2, min_runs=20, window_s=0.05, slice_s=0.02, stop_ratio=None, deadline_s=60
    )
    monkeypatch.setattr(profiles, "protocols", lambda profile, effort, setting: {"final": protocol})


def save(folder: Path, text: str) -> Path:
    path = folder / "net.onnx"
    path.write_bytes(onnx.parser.parse_model(text).SerializeToString())
    return path


def test_a_litert_file_is_measured_beside_an_onnx_model(run: Callable[..., Ran], folder: Path) -> None:
    ran = run(
        "measure", save(folder, ONNX), CONV, "--device", "local", "--threads", 1, "--by-region", "--json"
    )
    assert ran.code == 0, ran.err
    first, second = ran.document["measurements"]
    assert (first["runtime"], second["runtime"]) == ("onnxruntime", "litert")
    assert second["session_options"] == {"threads": 1, "xnnpack": True}
    assert second["latency_ms"]["p50"] > 0
    assert second["model_rss_bytes"] is not None
    assert Path(second["artifact"]) == CONV
    assert first["regions"]
    assert second["regions"] is None
    assert "LiteRT does not tell the times of single operators" in ran.err
    (comparison,) = ran.document["comparisons"]
    assert comparison["ratio_p50"] > 0


def test_another_layout_is_another_input(run: Callable[..., Ran], folder: Path) -> None:
    ran = run("measure", save(folder, ONNX.replace("1, 8, 8, 3", "1, 3, 8, 8")), CONV, "--device", "local")
    assert ran.code == 2
    assert "conv.tflite takes img float32[1,8,8,3], net.onnx takes img float32[1,3,8,8]" in ran.err


def test_an_operator_that_the_runtime_lacks_is_a_failed_model(run: Callable[..., Ran]) -> None:
    ran = run("measure", FILES / "custom.tflite", "--device", "local", "--json")
    assert ran.code == 3, ran.err
    (row,) = ran.document["measurements"]
    assert row["state"] == "FAILED"
    assert row["reason"].startswith(
        "cannot be loaded on the board: Encountered unresolved custom op: ONNX_DET."
    )
    assert "\n" not in row["reason"]
    assert row["reason"] in ran.document["error"]["message"]


def test_a_damaged_file_is_refused(run: Callable[..., Ran], folder: Path) -> None:
    path = folder / "m.tflite"
    path.write_bytes(CONV.read_bytes()[:200])
    ran = run("measure", path, "--device", "local")
    assert ran.code == 3
    assert "m.tflite is a damaged LiteRT file" in ran.err


def test_a_shape_that_contradicts_the_file_is_refused(run: Callable[..., Ran]) -> None:
    ran = run("measure", CONV, "--device", "local", "--shape", "img=1,9,9,3")
    assert ran.code == 3
    assert "input img float32[1,8,8,3] cannot be [1, 9, 9, 3]" in ran.err


def test_it_is_not_predicted(run: Callable[..., Ran]) -> None:
    ran = run("measure", CONV, "--device", "rpi4", "--board", "predicted", "--json")
    assert ran.code == 3, ran.err
    assert ran.document["measurements"][0]["reason"].startswith("cannot be predicted: what the operators of")


def test_optimize_still_wants_onnx(run: Callable[..., Ran]) -> None:
    ran = run("optimize", CONV, "--device", "local", "--budget", "0")
    assert ran.code == 3
    assert "is a TensorFlow Lite file, not ONNX" in ran.err


def test_optimize_needs_onnxruntime_on_a_board_that_has_litert(
    run: Callable[..., Ran], folder: Path, tmp_path: Path
) -> None:
    python = python_with(tmp_path / "only litert", {"ai_edge_litert", "numpy", "backports", "flatbuffers"})
    board = f"local://?python={python}"
    ran = run("optimize", save(folder, ONNX), "--device", "local", "--board", board, "--budget", 0)
    assert ran.code == 4
    assert "its Python cannot import onnxruntime" in ran.err
    assert "-m pip install 'onnxruntime<1.29'" in ran.err
