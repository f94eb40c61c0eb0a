"""`--runtime`: LiteRT alone, both, and what is told where nobody asked for it, with the real tools."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest

from edgeopt.graph.litert.environment import Environment
from tests.conftest import CACHE
from tests.e2e import made
from tests.e2e.contract import check_result
from tests.e2e.program import Program


@pytest.fixture
def converting(edgeopt: Program, tools: Environment, monkeypatch: pytest.MonkeyPatch) -> Program:
    """The command line, with the conversion tools in its cache."""
    del tools
    monkeypatch.setenv("EDGEOPT_CACHE", str(CACHE))
    return edgeopt


def kinds(folder: Path) -> set[str]:
    return {path.name for path in folder.glob("best.*")}


@pytest.mark.long
def test_litert_alone(converting: Program, model: Path, data: Path) -> None:
    command = (model.name, "--data", data.name, "--runtime", "litert", "-o", "out")
    ran = converting.optimize(*command, "--budget", "2 trials")
    assert ran.code == 0, ran.err
    document, out = ran.document, converting.folder / "out"
    check_result(document)
    rows = [document["baseline"], document["best"], *document["references"]]
    assert {row["runtime"] for row in rows if row["state"] != "FAILED"} == {"litert"}
    assert document["artifact"] == str(out / "best.tflite")
    assert kinds(out) == {"best.tflite", "best.json"}
    names = {row["name"] for row in document["references"] if row["latency_ms"]["p50"]}
    assert names >= {"litert-int8-static", "litert-int8-dynamic", "litert-float16-storage"}
    assert document["baseline"]["session_options"].keys() == {"threads", "xnnpack"}
    assert document["accuracy"]["verified_on"] in ("board", "host")

    again = converting.optimize(*command, "--budget", "2 trials")
    assert again.code == 0, again.err
    assert again.told == []
    assert again.document["best"]["sha256"] == document["best"]["sha256"]
    other = converting.optimize(*command[:3], "-o", "out", "--budget", 0)
    assert other.code == 2
    assert "runtime was litert, is unknown" in other.document["error"]["message"]


def test_both_and_one_of_them_wins(converting: Program, model: Path, data: Path) -> None:
    ran = converting.optimize(
        model.name, "--data", data.name, "--runtime", "auto", "--sampler", "local",
        "--budget", "3 trials", "-o", "out",
    )  # fmt: skip
    assert ran.code == 0, ran.err
    document = ran.document
    check_result(document)
    by_runtime = {row["name"]: row["runtime"] for row in document["references"] if row["runtime"]}
    assert {"onnxruntime", "litert"} == set(by_runtime.values())
    assert document["baseline"]["runtime"] == "onnxruntime"
    assert document["faster_runtime"] is None
    suffix = {"onnxruntime": ".onnx", "litert": ".tflite"}[document["best"]["runtime"]]
    assert document["artifact"].endswith(f"best{suffix}")
    assert kinds(converting.folder / "out") == {f"best{suffix}", "best.json"}
    evidence = json.loads((converting.folder / "out" / "best.json").read_text())
    assert evidence["best"]["decisions"].get("runtime", "onnxruntime") == document["best"]["runtime"]
    contenders = {row["name"] for row in document["final"]}
    assert len(contenders) >= 2
    shown = converting("study", "show", "out", "--json")
    assert shown.code == 0, shown.err


def test_beside_onnxruntime_litert_is_measured_and_cannot_win(
    converting: Program, model: Path, data: Path
) -> None:
    ran = converting.optimize(model.name, "--data", data.name, "--budget", 0, "-o", "out")
    assert ran.code == 0, ran.err
    document = ran.document
    rows = {row["name"]: row for row in document["references"]}
    assert {"litert-float32", "litert-int8-static"} <= rows.keys()
    beside = rows["litert-float32"]
    assert beside["state"] == "INFEASIBLE"
    assert beside["reason"] == "it runs on litert, and --runtime onnxruntime does not"
    assert beside["latency_ms"]["p50"] > 0
    assert document["best"]["runtime"] == "onnxruntime"
    if (found := document["faster_runtime"]) is not None:
        assert found["ratio"] <= 0.9
        assert found["command"].endswith("--runtime auto --fresh")


@pytest.mark.long
def test_without_the_tools_nothing_is_installed_unasked(edgeopt: Program, model: Path) -> None:
    ran = edgeopt.optimize(model.name, "--budget", 0, "-o", "out")
    assert ran.code == 0, ran.err
    assert not any(row["runtime"] == "litert" for row in ran.document["references"])
    assert not (Path(os.environ["HOME"]) / ".cache" / "edgeopt" / "litert").exists()


@pytest.mark.long
def test_a_model_that_does_not_convert_leaves_the_other_runtime(converting: Program, work: Path) -> None:
    node, weight = made.helper.make_node, made.weight("w", 4, 4)
    made.save(
        work / "det.onnx", [node("MatMul", ["x", "w"], ["m"]), node("Det", ["m"], ["y"])],
        [made.value("x", [4, 4])], [made.value("y", [])], [weight],
    )  # fmt: skip
    both = converting.optimize("det.onnx", "--runtime", "auto", "--budget", 0, "-o", "both")
    assert both.code == 0, both.err
    failed = [row for row in both.document["references"] if row["state"] == "FAILED"]
    assert [row["name"] for row in failed][:1] == ["litert-float32"]
    assert failed[0]["reason"] == (
        "converting to LiteRT failed: LiteRT has no operator for DET as it is used here"
    )
    assert both.document["best"]["runtime"] == "onnxruntime"
    alone = converting.optimize("det.onnx", "--runtime", "litert", "--budget", 0, "-o", "alone")
    assert alone.code == 3
    assert "LiteRT has no operator for DET" in alone.document["error"]["message"]
