from __future__ import annotations

import json
from pathlib import Path

from tests.e2e.contract import check_error, check_result
from tests.e2e.program import Program, all_ended


def test_ctrl_c_in_the_search_and_in_the_final_stage_leaves_the_best_so_far(
    edgeopt: Program, inside: Program, model: Path, home: Path
) -> None:
    command = edgeopt.optimizing(model.name, "--budget", "4 trials", "--sampler", "random", "-o", "out")
    told: list[int] = []
    for moment in ("trial   3 ", "\nfinal ("):
        running = edgeopt.start(*command)
        assert running.reaches(moment), running.err
        ran = running.interrupt()
        assert ran.code == 130, ran.err
        assert "Traceback" not in ran.err
        check_result(ran.document)
        assert ran.document["best"]["stage"] == "screen"
        told += ran.told
        assert ran.document["trials"] == len(told) == len(set(told))
        out = edgeopt.folder / "out"
        assert ran.document["artifact"] == str(out / "best.onnx")
        assert json.loads((out / "best.json").read_text())["best"] == ran.document["best"]
        assert "interrupted" in (out / "report.html").read_text()
        assert all_ended(home) == []

    again = inside(*command)
    assert again.code == 0, again.err
    check_result(again.document)
    assert again.told == []
    assert again.document["best"]["stage"] == "final"


def test_ctrl_c_keeps_the_answer_of_an_earlier_final_stage(
    edgeopt: Program, inside: Program, model: Path
) -> None:
    command = (model.name, "--threads", 1, "--sampler", "random", "-o", "out")
    before = inside.optimize(*command, "--budget", 0)
    assert before.code == 0, before.err
    running = edgeopt.start(*edgeopt.optimizing(*command, "--budget", "3 trials"))
    assert running.reaches("references ("), running.err
    ran = running.interrupt()
    assert ran.code == 130, ran.err
    if not ran.told:  # else a trial was done before the signal came, and a new final stage is due
        assert ran.document == before.document
    again = inside.optimize(*command, "--budget", 0)
    assert again.code == 0, again.err
    assert again.document["best"]["stage"] == "final"


def test_ctrl_c_before_anything_was_measured(edgeopt: Program, model: Path, home: Path) -> None:
    running = edgeopt.start(*edgeopt.optimizing(model.name, "--budget", 0, "-o", "out"))
    assert running.reaches("board local"), running.err
    ran = running.interrupt()
    assert ran.code == 130, ran.err
    assert "Traceback" not in ran.err
    check_error(ran.document)
    assert ran.document["error"]["kind"] == "interrupted"
    assert all_ended(home) == []
