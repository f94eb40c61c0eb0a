from __future__ import annotations

import io

import pytest
from rich.console import Console

from edgeopt.cli.live import LiveView, PlainView, view
from tests.report import made_up


def terminal() -> Console:
    return Console(file=io.StringIO(), force_terminal=True, width=110, highlight=False)


def text(console: Console) -> str:
    assert isinstance(console.file, io.StringIO)
    return console.file.getvalue()


def test_a_terminal_gets_a_panel_others_get_lines(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("edgeopt.cli.live.err", terminal)
    monkeypatch.delenv("CI", raising=False)
    assert type(view(as_json=False)) is LiveView
    assert type(view(as_json=True)) is PlainView
    monkeypatch.setenv("CI", "true")
    assert type(view(as_json=False)) is PlainView


def test_the_panel_shows_trials_best_board_and_budget() -> None:
    console = terminal()
    trials = made_up.study()
    panel = LiveView(console)
    with panel:
        panel.announce("board kitchen-pi: as asked")
        panel.stage("search", 40)
        for trial in trials:
            panel.trial(trial)
            panel.advance()
        panel.best(trials[1])
        panel.board("52 °C, 1.8 GHz")
        panel.budget("23 trials left", 0.4)
        console.print(panel.render())
    shown = text(console)
    for words in ("46 of 40", "1.88×", "(trial 1)", "52 °C", "23 trials left", "drop (absolute)", "45"):
        assert words in shown
    assert "trial 39" not in shown  # only the last few


def test_the_announcement_is_the_first_line_and_remarks_follow() -> None:
    console = Console(file=io.StringIO(), width=200)
    plain = PlainView(console, remarks=["settings from /x/edgeopt.toml"])
    plain.announce("board local: this machine")
    plain.announce("no data")
    assert text(console).splitlines() == [
        "board local: this machine",
        "settings from /x/edgeopt.toml",
        "no data",
    ]


def test_a_prediction_is_marked_in_every_line() -> None:
    console = Console(file=io.StringIO(), width=200)
    plain = PlainView(console)
    trials = made_up.study("predicted")
    for trial in trials[:3]:
        plain.trial(trial)
    plain.best(trials[1])
    assert all("predicted" in line for line in text(console).splitlines())


def test_names_are_shown_as_they_are_not_as_markup() -> None:
    console = Console(file=io.StringIO(), width=200)
    plain = PlainView(console)
    plain.announce("board [bold]x[/bold]")
    plain.trial(made_up.trial(1, {}, 1.0, 0.0, 5, state="FAILED", reason="[/red] broke"))
    assert "board [bold]x[/bold]" in text(console)
    assert "[/red] broke" in text(console)
