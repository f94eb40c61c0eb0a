from __future__ import annotations

import csv
import io
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest

from edgeopt.core.candidate import Candidate
from edgeopt.core.space import DecisionPoint, SearchSpace
from edgeopt.core.trial import Trial
from edgeopt.report.context import Evidence
from edgeopt.study.store import StudyStore
from tests.cli.conftest import Ran
from tests.report import made_up


def space_of(trials: Sequence[Trial]) -> SearchSpace:
    options: dict[str, dict[str, None]] = {}
    for trial in trials:
        for site, option in trial.candidate.decisions:
            options.setdefault(site, {})[option] = None
    points = tuple(DecisionPoint(site, tuple(found), next(iter(found))) for site, found in options.items())
    return SearchSpace(trials[0].candidate.model_digest, points)


@pytest.fixture
def study(folder: Path) -> Path:
    """A finished study, as `edgeopt optimize` leaves it."""
    path = folder / "out"
    path.mkdir()
    trials = made_up.study()[:12]
    with StudyStore.open(path, space=space_of(trials), identity={"model": "m"}) as store:
        for trial in trials:
            number = store.ask_candidate(Candidate(*as_pair(trial)), trial.kind, trial.name)
            assert number == trial.number
            store.tell(trial)
    document = made_up.result(trials)
    (path / "best.json").write_text(Evidence(document, made_up.context(document)).to_json())
    return path


def as_pair(trial: Trial) -> tuple[str, Any]:
    return trial.candidate.model_digest, trial.candidate.decisions


def test_show_lists_every_trial(run: Callable[..., Ran], study: Path) -> None:
    rows = run("study", "show", study, "--json").document["trials"]
    assert [row["trial"] for row in rows] == list(range(12))
    assert rows[2]["state"] == "INFEASIBLE"
    assert "int8 dynamic" in run("study", "show", study).out


def test_best_shows_the_result_again(run: Callable[..., Ran], study: Path) -> None:
    document = run("study", "best", study, "--json").document
    assert document["verdict"] == "improved"
    assert "context" not in document
    assert "Improved: " in run("study", "best", study).out


def test_the_front_holds_nothing_that_another_beats(run: Callable[..., Ran], study: Path) -> None:
    rows = run("study", "pareto", study, "--json").document["pareto"]
    points = [(row["latency_ms"]["p50"], row["drop"]) for row in rows]
    assert points
    assert all(row["state"] == "COMPLETE" for row in rows)
    assert min(rows, key=lambda row: row["latency_ms"]["p50"]) == rows[0]


def test_export_is_csv_with_one_column_per_decision(
    run: Callable[..., Ran], study: Path, folder: Path
) -> None:
    ran = run("study", "export", study, "-o", "trials.csv")
    assert ran.code == 0
    rows = list(csv.DictReader(io.StringIO((folder / "trials.csv").read_text())))
    assert len(rows) == 12
    assert rows[0]["p50_ms"]
    assert rows[0]["precision@/features/0/conv"] == "float32"
    printed = run("study", "export", study).out
    assert list(csv.DictReader(io.StringIO(printed))) == rows


def test_the_report_is_written_again(run: Callable[..., Ran], study: Path, folder: Path) -> None:
    ran = run("report", study, "-o", "page.html")
    assert ran.code == 0, ran.err
    assert "mobilenet_v2.onnx" in (folder / "page.html").read_text()
    assert Path(run("report", study, "--json").document["report"]) == study / "report.html"


@pytest.mark.parametrize("command", ["show", "best", "pareto", "export"])
def test_a_folder_without_a_study_is_exit_2(run: Callable[..., Ran], folder: Path, command: str) -> None:
    ran = run("study", command, folder)
    assert ran.code == 2
    assert len(ran.err.splitlines()) <= 2


def test_a_broken_best_json_is_named(run: Callable[..., Ran], study: Path) -> None:
    (study / "best.json").write_text('{"verdict": "improved"}')
    ran = run("report", study)
    assert (ran.code, "best.json" in ran.err) == (2, True)


def test_a_full_disk_is_exit_1_in_two_lines(run: Callable[..., Ran], study: Path) -> None:
    ran = run("study", "export", study, "-o", "/dev/full")
    assert ran.code == 1
    assert ran.err.startswith("error: no space left on the disk")
    assert len(ran.err.splitlines()) == 2
