"""A whole study on a board that counts instead of clocking: exact, marked, and honest about ties."""

from __future__ import annotations

from itertools import chain
from pathlib import Path
from typing import Any

import pytest

from edgeopt.core.errors import ConfigError
from edgeopt.core.objective import Limits, MaxDrop, Objective
from edgeopt.core.progress import Observer
from edgeopt.core.trial import Trial
from edgeopt.options import Budget
from edgeopt.report import headline
from edgeopt.report.context import read_evidence
from tests.e2e.contract import check_result
from tests.e2e.emulating import MODEL_ERROR, Emulated, emulate

LOOSE = MaxDrop(0.9, relative=False)


class Log(Observer):
    def __init__(self) -> None:
        self.lines: list[str] = []
        self.decisions: list[dict[str, str]] = []

    def announce(self, line: str) -> None:
        self.lines.append(line)

    def trial(self, trial: Trial) -> None:
        self.decisions.append(dict(trial.candidate.decisions))


def test_every_figure_is_emulated_and_counted_once(work: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    board, log = Emulated(), Log()
    document = emulate(work, board, monkeypatch, log)
    check_result(document)
    assert (document["provenance"], document["never_worse"]) == ("emulated", False)
    assert document["verdict"] == "reference"
    best = document["best"]
    assert (best["provenance"], best["stage"], best["cold_start_ms"]) == ("emulated", "final", None)
    latency = best["latency_ms"]
    assert [latency[p] for p in ("p90", "p95", "p99")] == [None, None, None]
    assert latency["ci95"] == pytest.approx(
        [latency["p50"] * (1 - MODEL_ERROR), latency["p50"] * (1 + MODEL_ERROR)]
    )
    assert best["peak_rss_bytes"] > 50_000_000
    assert (best["energy_source"], document["accuracy"]["verified_on"]) == ("model", "board")
    assert all(len(asked) == 1 for asked in board.counted)
    assert len(board.counted) == document["measured"]
    assert any("to emulate the original took" in line for line in log.lines)
    kept = read_evidence(work / "out").document
    assert (kept["provenance"], kept["best"]["provenance"]) == ("emulated", "emulated")
    page = (work / "out" / "report.html").read_text()
    assert "±20 % emulated" in page
    assert "edgeopt confirm" in page


def test_the_same_seed_gives_the_same_study(work: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    logs = []
    documents = []
    for name in ("one", "two"):
        logs.append(Log())
        more: dict[str, Any] = {"output": work / name, "sampler": "ppo", "budget": Budget(trials=4)}
        documents.append(emulate(work, Emulated(), monkeypatch, logs[-1], **more))
    assert logs[0].decisions == logs[1].decisions
    assert len(logs[0].decisions) > 6
    first, second = ((d["verdict"], d["best"]["sha256"], d["best"]["latency_ms"]) for d in documents)
    assert first == second


def test_what_the_model_cannot_tell_apart_is_a_tie(work: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    document = emulate(work, Emulated(integer_ms=0.95), monkeypatch)
    check_result(document)
    assert document["verdict"] == "original"
    assert document["comparisons"]
    for row in document["comparisons"]:
        assert (row["tie"], row["significant"]) == (True, False)
        reach = 1.1**1.96
        assert row["ci95"] == pytest.approx([row["ratio_p50"] / reach, row["ratio_p50"] * reach])
    assert "beyond the model's error" in headline.verdict(document)


def test_of_tied_recipes_the_simplest_stays(work: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Recipes for other numbers of threads are a little faster here, by less than the model can tell."""
    document = emulate(work, Emulated(), monkeypatch, budget=Budget(trials=0))
    fastest = min(
        (r for r in document["references"] if r["state"] == "COMPLETE"),
        key=lambda r: r["latency_ms"]["p50"],
    )
    best = document["best"]
    assert best["latency_ms"]["p50"] <= fastest["latency_ms"]["p50"] * 1.1
    assert len(best["decisions"]) <= len(fastest["decisions"])


def test_modelled_energy_is_searched_for_only_if_allowed(work: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    more: dict[str, Any] = {"objective": Objective("energy", LOOSE), "budget": Budget(trials=0)}
    with pytest.raises(ConfigError, match="the only energy that virtual:tiny knows is a model's") as refusal:
        emulate(work, Emulated(), monkeypatch, **more)
    assert "--allow-modelled-energy" in str(refusal.value.hint)
    assert not (work / "out").exists()
    document = emulate(work, Emulated(), monkeypatch, allow_modelled_energy=True, **more)
    check_result(document)
    assert document["best"]["energy_mj"] < document["baseline"]["energy_mj"]


def test_limits_of_memory_are_those_of_the_guest(work: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    size = emulate(work, Emulated(), monkeypatch, budget=Budget(trials=0), output=work / "free")["baseline"][
        "size_bytes"
    ]
    limits = Limits(max_memory_bytes=50_000_000 + size - 1)
    document = emulate(
        work, Emulated(), monkeypatch, objective=Objective("latency", LOOSE, limits), budget=Budget(trials=0)
    )
    check_result(document)
    assert document["baseline"]["state"] == "INFEASIBLE"
    assert document["best"]["peak_rss_bytes"] < 50_000_000 + size
    shown = chain([document["best"]], document["pareto"])
    assert {t["provenance"] for t in shown} == {"emulated"}
