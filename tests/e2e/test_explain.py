"""What each decision of a result brings: on a board whose prices are known, and on this machine."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from edgeopt.boards import connect
from edgeopt.core.progress import Observer
from edgeopt.optimize.explain import explain
from edgeopt.options import Budget, ExplainOptions
from tests.e2e.contract import check_error
from tests.e2e.emulating import Emulated, emulate
from tests.e2e.program import Program

FIGURES = ("latency_ms", "size_bytes", "energy_mj", "drop")
INT8_MS = 0.4


@pytest.fixture
def study(work: Path, home: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    document = emulate(work, Emulated(INT8_MS), monkeypatch, budget=Budget(trials=4), sampler="local")
    assert document["best"]["kind"] != "baseline"
    return work / "out"


def told(
    study: Path, patch: pytest.MonkeyPatch, board: Emulated | None = None, **asked: Any
) -> dict[str, Any]:
    with patch.context() as patched:
        patched.setattr(connect, "connect", lambda *_, **__: connect.Connected(board, "board virtual:tiny"))
        return explain(ExplainOptions(study, **asked), Observer()).document


def check_sums(document: dict[str, Any]) -> None:
    """Shares and what is told as `together` are the whole."""
    for figure in FIGURES:
        whole, rest = document["total"][figure], document["together"][figure]
        if rest is not None:
            parts = [row[figure]["value"] for row in document["decisions"]]
            assert sum(parts) + rest["value"] == pytest.approx(whole["value"], abs=1e-9)
            assert {row[figure]["provenance"] for row in document["decisions"]} == {whole["provenance"]}


def test_without_a_board_each_share_is_predicted(study: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    document = told(study, monkeypatch)
    best = json.loads((study / "best.json").read_text())
    assert document["trial"] == best["best"]["trial"]
    decided = {site: row["option"] for row in document["decisions"] for site in row["sites"]}
    assert decided == best["decisions"]
    assert document["ablated"] == 0
    check_sums(document)
    for row in (*document["decisions"], document["total"]):
        for figure in FIGURES:
            assert row[figure]["provenance"] == "predicted"
            low, high = row[figure]["ci95"]
            assert low <= row[figure]["value"] <= high
    change_ms = best["best"]["latency_ms"]["p50"] - best["baseline"]["latency_ms"]["p50"]
    assert document["total"]["latency_ms"]["value"] == pytest.approx(change_ms, rel=0.1)


def test_what_is_counted_is_kept_and_not_counted_again(study: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    board = Emulated(INT8_MS)
    first = told(study, monkeypatch, board, budget=Budget(trials=1))
    assert first["ablated"] == min(1, len(first["decisions"]))
    document = told(study, monkeypatch, board, budget=Budget(seconds=1e9))
    assert document["ablated"] == len(document["decisions"])
    check_sums(document)
    best = json.loads((study / "best.json").read_text())
    for figure, key in (("size_bytes", "size_bytes"), ("energy_mj", "energy_mj")):
        change = best["best"][key] - best["baseline"][key]
        assert document["total"][figure]["value"] == pytest.approx(change, rel=1e-6)
    for row in document["decisions"]:
        assert row["latency_ms"]["provenance"] == row["energy_mj"]["provenance"] == "emulated"
        assert (row["size_bytes"]["provenance"], row["size_bytes"]["source"]) == ("measured", "file")
        if row["option"].startswith("int8") and row["sites"][0].startswith("precision"):
            # A float product costs 1 ms on this board, one of integers 0.4 or next to nothing.
            assert -1.01 < row["latency_ms"]["value"] < INT8_MS - 1.0 + 0.03
            assert row["latency_ms"]["share"] > 0.2
            assert row["size_bytes"]["value"] < 0
    counted = len(board.counted)
    trials = (study / "study.log").read_bytes()
    assert told(study, monkeypatch, board, budget=Budget(seconds=1e9)) == document
    assert told(study, monkeypatch) == document
    assert (len(board.counted), (study / "study.log").read_bytes()) == (counted, trials)


def test_on_this_machine_in_turns(inside: Program, model: Path, data: Path) -> None:
    # The smallest file is an int8 one, whatever the clocks of a busy machine say.
    flags = ["--data", data.name, "--metric", "cosine", "--max-drop", 0.9, "--objective", "size"]
    for figure in ("latency", "p95", "memory", "cold-start"):
        flags += ["--allow-worse", figure]
    ran = inside.optimize(model.name, *flags, "--budget", 0, "--threads", 1, "-o", "edgeopt-out/net")
    assert ran.code == 0, ran.err
    shown = inside("study", "explain", "--budget", "1 trials", "--json")
    assert shown.code == 0, shown.err
    document = shown.document
    (measured,) = [row for row in document["decisions"] if row["drop"]["source"] == "host"]
    for row in (measured, document["total"]):
        assert row["latency_ms"]["provenance"] == row["drop"]["provenance"] == "measured"
        assert row["latency_ms"]["ci95"] is not None
    assert document["ablated"] == 1 < len(document["decisions"])
    # What is measured and what is predicted are not added.
    assert document["together"]["latency_ms"] is None
    for row in document["decisions"]:
        assert (row["latency_ms"]["share"] is None) == (row["latency_ms"]["provenance"] == "predicted")
    assert "p predicted" in inside("study", "explain", "edgeopt-out/net").out
    (inside.folder / "edgeopt-out/net/ablations.json").unlink()
    model.write_bytes(model.read_bytes().replace(b"b1", b"b3"))
    ran = inside("study", "explain", "--measure", "--json")
    assert ran.code == 2, ran.err
    assert "model was" in ran.document["error"]["message"]


def test_what_cannot_be_explained_is_refused(inside: Program) -> None:
    for arguments in ((), ("missing",), (".",)):
        ran = inside("study", "explain", *arguments, "--json")
        assert ran.code == 2, ran.err
        check_error(ran.document)
