"""`--recover-budget`: after the search, changed structures learn from the original, and are tried again."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from tests.e2e.program import Program


def test_changed_structures_are_distilled_once(
    inside: Program, model: Path, data: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("edgeopt.graph.training.distil.LADDER", (32,))
    command = (
        "optimize", model.name, "--data", data.name, "-o", "out", "--device", "rpi4", "--board", "predicted",
        "--structure", "--sampler", "nas", "--budget", "1 trials", "--max-drop", "0.5%", "--json",
    )  # fmt: skip
    first = inside(*command, "--recover-budget", "5min")
    assert first.code == 0, first.err
    results = first.document["distilled"]
    learnt = [one for one in results if one["better"]]
    assert learnt, first.err
    assert len(results) <= 4
    for one in learnt:
        assert one["loss_after"] < one["loss_before"]
        assert 0 <= one["accuracy_before"] <= 1
        assert 0 <= one["accuracy_after"] <= 1
    tried = [one["trial"] for one in learnt]
    assert first.document["trials"] == max(tried) + 1
    files = sorted((inside.folder / "out" / "distilled").glob("*.npz"))
    assert len(files) == len(results)
    with np.load(files[0], allow_pickle=False) as kept:
        assert "facts" in kept.files
    assert "distilled: held-out loss" in (inside.folder / "out" / "report.html").read_text(encoding="utf-8")

    again = inside(*command, "--recover-budget", "5min")
    assert "nothing is left to do" in again.err
    assert "learns from the original" not in again.err
    assert again.document["distilled"] == results
