"""The table of the terminal: one line for each trial, however narrow the terminal is."""

from __future__ import annotations

import io
from collections.abc import Mapping
from typing import Any

import pytest
from rich.console import Console

from edgeopt.report.document import trial_document
from edgeopt.report.trials import TrialsTable
from tests.report import made_up

REST = "its core was shared with others for {} of the time, and only the rest counts"
ALL = "its core was shared with others for {} of the time, and all of it counts"
CRASH = (
    "it died on the board with exit code 3: terminate called after throwing an instance of 'std::bad_alloc'"
)


def rows() -> list[dict[str, Any]]:
    found = [trial_document(trial) for trial in made_up.study()]
    for row, share in zip(found, (0.68, 0.61, 0.6), strict=False):
        row |= {"state": "COMPLETE", "reason": None, "contended": share}
        row["latency_note"] = REST.format(f"{share:.0%}")
    found[3] |= {"state": "FAILED", "reason": CRASH, "latency_note": None}
    return found[:4]


def shown(width: int, of: list[dict[str, Any]], original: Mapping[str, Any] | None = None) -> list[str]:
    console = Console(width=width, record=True, file=io.StringIO())
    console.print(TrialsTable(of, original))
    return [line.rstrip() for line in console.export_text().splitlines()]


@pytest.mark.parametrize("width", [80, 100, 140, 400])
def test_each_trial_has_one_line_with_its_whole_name_and_a_mark(width: int) -> None:
    lines = shown(width, rows())
    for row, mark in zip(
        rows(), ("shared 68% [1]", "shared 61% [1]", "shared 60% [1]", "FAILED [2]"), strict=True
    ):
        (line,) = [line for line in lines if line.strip().startswith(row["name"] + " ")]
        assert line.endswith(mark)
        assert "…" not in line


@pytest.mark.parametrize("width", [80, 100, 140])
def test_what_a_mark_means_stands_below_once(width: int) -> None:
    text = " ".join(line.strip() for line in shown(width, rows()))
    assert text.count("[1] " + REST.format("so much")) == 1
    assert text.count(f"[2] {CRASH}") == 1


def test_notes_that_differ_in_more_than_the_share_have_marks_of_their_own() -> None:
    several = rows()
    several[1]["latency_note"] = ALL.format("61%")
    lines = shown(140, several)
    assert f"[1] {REST.format('so much')}" in lines
    assert f"[2] {ALL.format('so much')}" in lines


def test_columns_without_room_are_named_and_none_is_left_out_where_there_is_room() -> None:
    narrow, wide = shown(80, rows(), rows()[0]), shown(140, rows(), rows()[0])
    assert any(line.startswith("no room for p95, peak RSS") for line in narrow)
    assert not any(line.startswith("no room for") for line in wide)
    assert all(
        heading in " ".join(wide) for heading in ("p50 [95 %]", "speed", "p95", "size", "peak RSS", "drop")
    )


def test_a_provenance_that_all_have_stands_below_and_mixed_ones_in_each_row() -> None:
    assert "All figures are measured." in shown(140, rows())
    mixed = rows()
    mixed[1]["provenance"] = "predicted"
    lines = shown(160, mixed)
    assert not any(line.startswith("All figures") for line in lines)
    assert sum("predicted" in line for line in lines) == 1
