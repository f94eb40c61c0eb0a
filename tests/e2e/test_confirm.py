"""An emulated study, confirmed on hardware: this machine, directly and over SSH."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from edgeopt.core.quantity import Quantity
from edgeopt.options import Budget
from edgeopt.report.agreement import Pair, agreement, rank_correlation, sentence
from tests.e2e.contract import check_error, check_result
from tests.e2e.emulating import Emulated, emulate
from tests.e2e.program import Program, all_ended
from tests.sshd import Sshd


@pytest.fixture
def study(edgeopt: Program, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A study of figures that were not measured, for a device whose profile fits any machine."""
    document = emulate(edgeopt.folder, Emulated(), monkeypatch, budget=Budget(trials=4))
    assert document["provenance"] == "emulated"
    return edgeopt.folder / "out"


def check_confirmed(document: Any, study: Path) -> None:
    check_result(document)
    assert (document["provenance"], document["never_worse"]) == ("measured", True)
    said = document["confirmed"]
    assert (said["study"], said["provenance"]) == (str(study), "emulated")
    assert said["n"] == len(said["rows"]) > 3
    assert sum(row["kind"] == "candidate" for row in said["rows"]) <= 5
    for row in said["rows"]:
        assert (row["estimated_ms"]["provenance"], row["measured_ms"]["provenance"]) == (
            "emulated",
            "measured",
        )
        assert row["ratio"] == pytest.approx(row["estimated_ms"]["p50"] / row["measured_ms"]["p50"])
    assert said["ratio_range"][0] <= said["ratio"] <= said["ratio_range"][1]
    assert -1 <= said["rank_correlation"] <= 1


def test_on_this_machine_and_resumed_after_a_kill(edgeopt: Program, inside: Program, study: Path) -> None:
    before = (study / "best.json").read_bytes()
    command = ("confirm", study, "--board", "local", "--json")
    running = edgeopt.start(*command)
    assert running.reaches("trial   2 "), running.err
    killed = running.kill()
    ran = edgeopt(*command)
    assert ran.code == 0, ran.err
    check_confirmed(ran.document, study)
    assert set(ran.told).isdisjoint(killed.told)
    folder = study / "confirm-local"
    assert ran.document["artifact"] == str(folder / "best.onnx")
    assert json.loads((folder / "confirm.json").read_text()) == ran.document
    assert (folder / "report.html").is_file()
    assert (study / "best.json").read_bytes() == before

    again = inside(*command)
    assert (again.code, again.told) == (0, []), again.err
    assert again.document["confirmed"] == ran.document["confirmed"]
    shown = inside("confirm", study, "--board", "local")
    assert "emulated / measured:" in shown.out, shown.err


def test_over_ssh(inside: Program, study: Path, sshd: Sshd) -> None:
    ran = inside("confirm", study, "--board", sshd.url, "--json")
    assert ran.code == 0, ran.err
    check_confirmed(ran.document, study)
    assert ran.document["board"].startswith(sshd.address)
    assert ran.document["best"]["sha256"] in {path.name for path in sshd.objects.iterdir()}
    assert all_ended(sshd.home) == []


def test_what_cannot_be_confirmed_is_refused(inside: Program, study: Path) -> None:
    for board, code in (("predicted", 2), ("bedroom", 2)):
        ran = inside("confirm", study, "--board", board, "--json")
        assert ran.code == code, ran.err
        check_error(ran.document)
    ran = inside("confirm", inside.folder, "--board", "local", "--json")
    assert ran.code == 2, ran.err
    check_error(ran.document)
    model = inside.folder / "net.onnx"
    whole = model.read_bytes()
    model.write_bytes(whole.replace(b"b1", b"b3"))
    ran = inside("confirm", study, "--board", "local", "--json")
    assert ran.code == 2, ran.err
    assert "the model changed since the study" in ran.document["error"]["message"]


def test_what_was_measured_needs_no_confirmation(inside: Program, model: Path) -> None:
    assert inside.optimize(model.name, "--budget", 0, "--threads", 1, "-o", "out").code == 0
    ran = inside("confirm", "out", "--board", "local", "--json")
    assert ran.code == 2, ran.err
    assert "was measured, on local" in ran.document["error"]["message"]


def pair(name: str, estimated_ms: float, measured_ms: float) -> Pair:
    said = Quantity(estimated_ms, "ms", estimated_ms * 0.8, estimated_ms * 1.2, "emulated", "cycles")
    found = Quantity(measured_ms, "ms", measured_ms, measured_ms, "measured", "clock")
    return Pair(name, "candidate", said, found)


def test_agreement_is_ratio_order_and_error_bar() -> None:
    pairs = [pair("a", 10.0, 7.5), pair("b", 20.0, 20.0), pair("c", 30.0, 24.5)]
    found = agreement("/study", pairs)
    assert (found["n"], found["within_error"]) == (3, 2)
    assert found["ratio"] == pytest.approx(30 / 24.5)
    assert found["ratio_range"] == pytest.approx([1.0, 4 / 3])
    assert found["rank_correlation"] == 1.0
    assert sentence(found).startswith("emulated / measured: 1.22 (from 1.00 to 1.33) over 3 set-ups")
    assert rank_correlation([pair("a", 1.0, 2.0), pair("b", 2.0, 1.0)]) is None
    assert rank_correlation([pair("a", 1.0, 3.0), pair("b", 2.0, 2.0), pair("c", 3.0, 1.0)]) == -1.0
    assert agreement("/study", [])["ratio"] is None
