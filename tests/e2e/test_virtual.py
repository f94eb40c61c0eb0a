"""A whole study on a real virtual board: the real runtime on an emulated core, entered over SSH."""

from __future__ import annotations

from pathlib import Path

from tests.e2e import made
from tests.e2e.contract import check_result
from tests.e2e.program import Program, all_ended


def test_a_study_on_a_virtual_raspberry_pi(edgeopt: Program, home: Path, images: Path) -> None:
    model = made.classifier(edgeopt.folder / "net.onnx", width=32)
    data = made.samples(edgeopt.folder / "data.npz", n=40)
    ran = edgeopt(
        "optimize", model.name, "--board", "virtual:rpi4", "--data", data.name, "--max-drop", 0.9,
        "--threads", 1, "--sampler", "random", "--budget", "1 trial", "--require", "emulated",
        "-o", "out", "--json",
    )  # fmt: skip
    assert ran.code == 0, ran.err
    assert ran.err.startswith("board virtual:rpi4: as asked, every time is priced from what it executes")
    document = ran.document
    check_result(document)
    assert (document["device"], document["board"]) == ("rpi4", "virtual:rpi4")
    assert (document["provenance"], document["never_worse"]) == ("emulated", False)
    assert document["failed"] == 0
    shown = [document["baseline"], document["best"], *document["references"]]
    for trial in shown:
        assert trial["provenance"] == "emulated"
        assert trial["peak_rss_bytes"] > 10e6
        assert trial["energy_source"] == "model"
        latency = trial["latency_ms"]
        assert latency["ci95"][0] < latency["p50"] < latency["ci95"][1]
        assert (latency["p95"], trial["cold_start_ms"]) == (None, None)
    kept = document["verdict"] == "original"
    assert document["accuracy"]["verified_on"] == ("host" if kept else "board")
    assert all_ended(home) == []
