from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import onnx.parser
import pytest

from edgeopt.boards import profiles
from edgeopt.cli.measure import _without_a_figure
from edgeopt.core.measurement import Protocol
from tests.cli.conftest import Ran

MODEL = """
<ir_version: 8, opset_import: ["" : 17]>
net (float[1, 64] x) => (float[1, 64] y)
<float[64, 64] w = {WEIGHTS}> {
  [first] a = MatMul(x, w)
  [second] b = Relu(a)
  [third] y = MatMul(b, w)
}
""".replace("WEIGHTS", ", ".join(["0.01"] * 64 * 64))


@pytest.fixture
def model(folder: Path) -> Path:
    path = folder / "net.onnx"
    path.write_bytes(onnx.parser.parse_model(MODEL).SerializeToString())
    return path


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    """The real board and the real runner, for a moment each."""
    protocol = Protocol(
        "final", processes=2, min_runs=20, window_s=0.05, slice_s=0.02, stop_ratio=None, deadline_s=60
    )
    monkeypatch.setattr(profiles, "protocols", lambda profile, effort, setting: {"final": protocol})


def test_two_models_are_measured_in_turns_and_compared(
    run: Callable[..., Ran],
    model: Path,
    folder: Path,
) -> None:
    other = folder / "copy.onnx"
    other.write_bytes(model.read_bytes())
    ran = run("measure", model, other, "--device", "local", "--threads", 1, "--json")
    assert ran.code == 0, ran.err
    document = ran.document
    assert (document["device"], document["provenance"]) == ("local", "measured")
    first, second = document["measurements"]
    assert (first["name"], first["kind"], first["trial"]) == ("net.onnx", "baseline", None)
    assert first["latency_ms"]["p50"] > 0
    assert first["session_options"]["threads"] == 1
    assert first["regions"] is None
    assert Path(second["artifact"]) == other
    (comparison,) = document["comparisons"]
    assert (comparison["a"], comparison["b"]) == ("copy.onnx", "net.onnx")
    assert comparison["ci95"][0] <= comparison["ratio_p50"] <= comparison["ci95"][1]


def test_by_region_says_where_the_time_goes(run: Callable[..., Ran], model: Path) -> None:
    ran = run("measure", model, "--device", "local", "--by-region", "--json")
    assert ran.code == 0, ran.err
    regions = ran.document["measurements"][0]["regions"]
    assert sum(region["ms"] for region in regions) > 0
    assert any("MatMul" in (region["operators"] or "") for region in regions)
    assert "share" in run("measure", model, "--device", "local", "--by-region").out


def test_predictions_closer_than_their_error_are_a_tie(
    run: Callable[..., Ran], model: Path, folder: Path
) -> None:
    (folder / "copy.onnx").write_bytes(model.read_bytes())
    ran = run("measure", model, "copy.onnx", "--device", "rpi4", "--board", "predicted", "--json")
    assert ran.code == 0, ran.err
    assert ran.document["provenance"] == "predicted"
    assert ran.document["measurements"][0]["latency_ms"]["p95"] is None
    (comparison,) = ran.document["comparisons"]
    assert (comparison["ratio_p50"], comparison["significant"], comparison["tie"]) == (1.0, False, True)
    low, high = comparison["ci95"]
    assert high > 1
    assert 1 / low == pytest.approx(high)
    shown = run("measure", model, "copy.onnx", "--device", "rpi4", "--board", "predicted").out
    assert "predicted" in shown
    assert "copy.onnx and net.onnx are a tie: 1.000 of the time (model error:" in shown


def test_sample_0_of_the_data_is_fed(run: Callable[..., Ran], model: Path, folder: Path) -> None:
    np.savez(folder / "d.npz", x=np.ones((3, 64), np.float32))
    assert run("measure", model, "--device", "local", "--data", "d.npz", "--json").code == 0
    np.savez(folder / "d.npz", z=np.ones((3, 64), np.float32))
    assert run("measure", model, "--device", "local", "--data", "d.npz", "--json").code == 3


def test_models_with_other_inputs_are_not_compared(
    run: Callable[..., Ran], model: Path, folder: Path
) -> None:
    other = folder / "other.onnx"
    other.write_bytes(
        onnx.parser.parse_model(MODEL.replace(" x)", " z)").replace("(x,", "(z,")).SerializeToString()
    )
    ran = run("measure", model, other, "--device", "local")
    assert (ran.code, "same inputs" in ran.err) == (2, True)


OUT_OF_RANGE = """
<ir_version: 8, opset_import: ["" : 17]>
net (float[1, 64] x, int64[1] at) => (float[1, 1] y)
{
  y = Gather<axis = 1>(x, at)
}
"""


def test_where_no_model_runs_it_is_3_with_the_document_and_an_error(
    run: Callable[..., Ran], folder: Path
) -> None:
    path = folder / "far.onnx"
    path.write_bytes(onnx.parser.parse_model(OUT_OF_RANGE).SerializeToString())
    here = ("measure", path, "--device", "local", "--fixed", "at=99")
    ran = run(*here, "--json")
    assert ran.code == 3, ran.err
    (row,) = ran.document["measurements"]
    assert (row["state"], row["failure"], row["processes"]) == ("FAILED", "candidate", None)
    assert ran.document["error"]["kind"] == "candidate"
    assert ran.document["error"]["message"].startswith("far.onnx could not be measured: cannot be run")
    shown = run(*here)
    assert (shown.code, "error: far.onnx could not be measured" in shown.out) == (3, True)


def test_a_model_that_does_not_run_beside_one_that_does_is_named_in_the_answer(
    run: Callable[..., Ran], folder: Path
) -> None:
    names = []
    for name, at in (("far.onnx", "at"), ("near.onnx", "zero")):
        text = OUT_OF_RANGE.replace("(x, at)", f"(x, {at})")
        text = text.replace("\n{\n  y", "\n{\n  zero = Sub(at, at)\n  y") if at == "zero" else text
        (folder / name).write_bytes(onnx.parser.parse_model(text).SerializeToString())
        names.append(name)
    ran = run("measure", *names, "--device", "local", "--fixed", "at=99", "--json")
    assert ran.code == 0, ran.err
    assert [row["state"] for row in ran.document["measurements"]] == ["FAILED", "COMPLETE"]
    assert "error" not in ran.document


@pytest.mark.parametrize(
    ("failures", "code"),
    [(["crash", "memory"], 3), (["unsteady"], 4), (["crash", "unsteady"], 4), ([None], 0)],
)
def test_noise_alone_is_the_board_s_fault(failures: list[str | None], code: int) -> None:
    rows = [
        {"name": "a", "state": "FAILED" if kind else "COMPLETE", "failure": kind, "reason": "why"}
        for kind in failures
    ]
    document: dict[str, Any] = {"measurements": rows}
    assert _without_a_figure(document) == code
    assert ("error" in document) == (code != 0)
