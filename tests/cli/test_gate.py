"""`measure --against FILE --fail-if …`: its exit codes, on this machine and on a predicted board."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import onnx.parser
import pytest

from edgeopt.boards import profiles
from edgeopt.core.measurement import Protocol
from tests.cli.conftest import Ran
from tests.cli.test_measure import MODEL

SLOW = """
<ir_version: 8, opset_import: ["" : 17]>
net (float[1, 64] x) => (float[1, 64] y)
<float[64, 64] w = {WEIGHTS}> {
  BODY
}
""".replace("WEIGHTS", ", ".join(["0.01"] * 64 * 64))
PREDICTED = ("--device", "rpi4", "--board", "predicted", "--json")


@pytest.fixture
def model(folder: Path) -> Path:
    return write(folder / "net.onnx", MODEL)


def write(path: Path, text: str) -> Path:
    path.write_bytes(onnx.parser.parse_model(text).SerializeToString())
    return path


def slow(path: Path, layers: int) -> Path:
    steps = [f"h{i} = MatMul({'x' if i == 0 else f'h{i - 1}'}, w)" for i in range(layers)]
    return write(path, SLOW.replace("BODY", "\n  ".join([*steps, f"y = Relu(h{layers - 1})"])))


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    """The real board and the real runner, for a moment each."""
    protocol = Protocol(
        "final", processes=4, min_runs=70, window_s=0.05, slice_s=0.02, stop_ratio=None, deadline_s=60
    )
    monkeypatch.setattr(profiles, "protocols", lambda profile, effort, setting: {"final": protocol})


def before(run: Callable[..., Ran], folder: Path, *arguments: object, **changed: Any) -> Any:
    document = run("measure", *arguments, "--json").document
    (folder / "main.json").write_text(json.dumps(document | changed))
    return document


def test_on_this_machine_a_slower_model_is_7_and_a_faster_one_is_0(
    run: Callable[..., Ran], folder: Path
) -> None:
    slow(folder / "net.onnx", 4)
    here = ("net.onnx", "--device", "local", "--threads", 1)
    before(run, folder, *here)
    slow(folder / "net.onnx", 400)
    gate = ("--against", "main.json", "--fail-if", "p50>+20%", "--fail-if", "size>+0%")
    ran = run("measure", *here, *gate, "--json", "--junit", "out/gate.xml")
    assert ran.code == 7, ran.err
    assert ran.document["gate"]["verdict"] == "worse"
    assert {check["figure"] for check in ran.document["regressions"]} == {"p50", "size"}
    assert ran.document["measurements"][0]["intervals"]["cold-start"]
    suite = ElementTree.parse(folder / "out" / "gate.xml").getroot().find("testsuite")
    assert suite is not None
    assert (suite.get("tests"), suite.get("failures"), suite.get("errors")) == ("2", "2", "0")
    before(run, folder, *here)
    slow(folder / "net.onnx", 4)
    ran = run("measure", *here, *gate, "--json")
    assert (ran.code, ran.document["gate"]["verdict"], ran.document["regressions"]) == (0, "no worse", [])


def test_noise_wider_than_what_is_allowed_is_4_with_the_whole_document_and_an_error(
    run: Callable[..., Ran], model: Path, folder: Path
) -> None:
    here = (model, "--device", "local", "--threads", 1)
    document = before(run, folder, *here)
    figures = document["measurements"][0]["latency_ms"]
    document["measurements"][0]["intervals"]["p50"] = [figures["p50"] / 3, figures["p50"] * 3]
    (folder / "main.json").write_text(json.dumps(document))
    gate = ("--against", "main.json", "--fail-if", "p50>+3%", "--junit", "gate.xml")
    ran = run("measure", *here, *gate, "--json")
    assert ran.code == 4
    assert ran.document["error"]["kind"] == "undecided"
    assert ran.document["measurements"]
    assert ElementTree.parse(folder / "gate.xml").getroot().get("errors") == "1"
    shown = run("measure", *here, *gate)
    assert (shown.code, "undecided: p50 of net.onnx" in shown.out) == (4, True)
    del document["measurements"][0]["intervals"]["p50"], figures["ci95"]
    (folder / "main.json").write_text(json.dumps(document))
    ran = run("measure", *here, *gate, "--json")
    assert (ran.code, "no interval of p50" in ran.document["error"]["message"]) == (4, True)


def test_a_prediction_of_the_same_file_is_compared_to_the_digit(
    run: Callable[..., Ran], model: Path, folder: Path
) -> None:
    document = before(run, folder, model, *PREDICTED[:-1])
    gate = ("--against", "main.json", "--fail-if")
    assert run("measure", model, *PREDICTED, *gate, "p50>+0%").code == 0
    document["measurements"][0]["latency_ms"]["p50"] /= 1.1
    (folder / "main.json").write_text(json.dumps(document))
    ran = run("measure", model, *PREDICTED, *gate, "p50>+3%")
    assert ran.code == 7
    assert ran.document["regressions"][0]["growth"] == pytest.approx(0.1)
    assert run("measure", model, *PREDICTED, *gate, "p50>+12%").code == 0
    write(model, MODEL.replace("Relu", "Abs"))
    unsure = run("measure", model, *PREDICTED, *gate, "p50>+3%")
    assert unsure.code == 4, "another model is told apart by the pairwise error only"


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("--fail-if", "p50>+3%"), "belong together"),
        (("--against", "main.json"), "belong together"),
        (("--against", "main.json", "--fail-if", "p95>+3%"), "does not know the p95 of net.onnx"),
        (("--against", "none.json", "--fail-if", "p50>+3%"), "none.json is not the answer"),
        (("--against", "main.json", "--fail-if", "speed>+3%"), "is not a condition"),
        (("--junit", "."), "it is a folder"),
        (("--junit", "main.json/gate.xml"), "cannot be made"),
    ],
)
def test_what_is_asked_wrongly_is_2_before_anything_is_measured(
    run: Callable[..., Ran], model: Path, folder: Path, arguments: tuple[str, ...], said: str
) -> None:
    before(run, folder, model, *PREDICTED[:-1])
    ran = run("measure", model, *PREDICTED, *arguments)
    assert (ran.code, said in ran.err) == (2, True), ran.err
    assert "measuring" not in ran.err


def test_models_are_matched_before_anything_is_measured(
    run: Callable[..., Ran], model: Path, folder: Path
) -> None:
    before(run, folder, model, *PREDICTED[:-1])
    other = folder / "other.onnx"
    other.write_bytes(model.read_bytes())
    ran = run("measure", other, *PREDICTED, "--against", "main.json", "--fail-if", "p50>+3%")
    assert (ran.code, "knows nothing of other.onnx" in ran.err, "it has net.onnx" in ran.err) == (
        2,
        True,
        True,
    )
    assert "measuring" not in ran.err


def test_other_provenance_device_and_threads_are_refused(
    run: Callable[..., Ran], model: Path, folder: Path
) -> None:
    gate = ("--against", "main.json", "--fail-if", "p50>+3%")
    before(run, folder, model, *PREDICTED[:-1], provenance="measured")
    ran = run("measure", model, *PREDICTED, *gate)
    assert (ran.code, "provenance was measured, is predicted" in ran.err) == (2, True)
    before(run, folder, model, *PREDICTED[:-1])
    ran = run("measure", model, "--device", "rpi5", "--board", "predicted", *gate)
    assert (ran.code, "device was rpi4, is rpi5" in ran.err) == (2, True)
    ran = run("measure", model, *PREDICTED, "--threads", 1, *gate)
    assert (ran.code, "how net.onnx is run was" in ran.err) == (2, True)


def test_another_rate_load_or_set_of_cores_is_refused_before_anything_is_measured(
    run: Callable[..., Ran], model: Path, folder: Path
) -> None:
    here = (model, "--device", "local", "--threads", 1)
    document = before(run, folder, *here)
    assert document["setting"] == "bench"
    gate = ("--against", "main.json", "--fail-if", "p50>+900%")
    ran = run("measure", *here, "--cpus", "0", *gate)
    assert (ran.code, "the setting was bench, is bench (cores 0)" in ran.err) == (2, True), ran.err
    assert "measuring" not in ran.err
    before(run, folder, *here, "--rate", 30)
    ran = run("measure", *here, "--rate", 60, *gate)
    assert (ran.code, "the setting was app (30/s), is app (60/s)" in ran.err) == (2, True), ran.err


def test_junit_tells_that_a_board_was_not_reached(run: Callable[..., Ran], model: Path, folder: Path) -> None:
    ran = run("measure", model, "--device", "rpi4", "--board", "ssh://x@127.0.0.1:1", "--junit", "gate.xml")
    assert ran.code == 4
    error = ElementTree.parse(folder / "gate.xml").getroot().find("testsuite/testcase/error")
    assert error is not None
    assert error.get("type") == "connect"
