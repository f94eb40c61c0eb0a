"""The parts of a winner, and what is told of them."""

from __future__ import annotations

from dataclasses import replace
from io import StringIO
from math import inf
from pathlib import Path

import pytest
from rich.console import Console

from edgeopt.core.errors import StudyError
from edgeopt.core.quantity import Provenance, Quantity
from edgeopt.optimize import ablation
from edgeopt.optimize.ablation import ablations
from edgeopt.report import shares
from edgeopt.search.samplers._examples import STRUCTURED, chain
from edgeopt.study import space as space_file
from edgeopt.study.ablations import Ablated, Ablations


def test_each_part_is_the_winner_without_it() -> None:
    space = chain(4)
    winner = space.candidate({"precision@/conv1": "int8", "precision@/conv3": "int8", "runtime:threads": "1"})
    parts = ablations(space, winner)
    assert [part.sites for part in parts] == [
        ("precision@/conv1",),
        ("precision@/conv3",),
        ("runtime:threads",),
    ]
    for part in parts:
        assert winner.changes(part.candidate) == dict.fromkeys(part.sites, part.option)
    assert ablations(space, space.default()) == []


def test_repeated_regions_are_one_part_where_there_are_many() -> None:
    space = chain(60)
    winner = space.candidate({f"precision@/conv{i}": "int8" for i in range(60)} | {"runtime:threads": "1"})
    parts = ablations(space, winner)
    assert [len(part.sites) for part in parts] == [30, 30, 1]
    assert parts[0].name == "precision@/conv0 and 29 like it"
    assert len(ablations(space, winner, "decision")) == 61 > ablation.MOST_ALONE
    assert [len(part.sites) for part in ablations(chain(4), chain(4).candidate(
        {"precision@/conv1": "int8", "precision@/conv3": "int8"}), "pattern")] == [2]  # fmt: skip


def effect(value: float, reach: float = 0.0, provenance: Provenance = "measured") -> Quantity:
    return Quantity(value, "ms", value - reach, value + reach, provenance, "clock")


def row(name: str, **effects: Quantity) -> shares.Row:
    return shares.Row(name, (name,), "on", "off", effects)


def test_what_does_not_add_up_is_told() -> None:
    whole = {"latency": effect(-2.0, 0.3), "drop": effect(0.0)}
    rows = [row("a", latency=effect(-1.5, 0.4)), row("b", latency=effect(-1.0))]
    rest = shares.together(rows, whole)
    assert rest["latency_ms"]["value"] == pytest.approx(0.5)
    assert rest["latency_ms"]["ci95"] == pytest.approx([0.0, 1.0])
    assert rest["latency_ms"]["share"] == pytest.approx(-0.25)
    assert rest["drop"] is None
    assert rest["energy_mj"] is None
    first, second = shares.with_shares(rows, whole)
    assert (first["latency_ms"]["share"], second["latency_ms"]["share"]) == (0.75, 0.5)
    assert first["drop"] is None


def test_measured_and_predicted_are_not_added() -> None:
    whole = {"latency": effect(-2.0)}
    rows = [row("a", latency=effect(-1.0)), row("b", latency=effect(-1.0, 0.1, "predicted"))]
    assert shares.together(rows, whole)["latency_ms"] is None
    assert [r["latency_ms"]["share"] for r in shares.with_shares(rows, whole)] == [0.5, None]


def test_what_was_measured_is_read_back_and_damage_is_named(tmp_path: Path) -> None:
    winner, other = STRUCTURED.candidate({"precision@/conv1": "int8"}), STRUCTURED.default()
    ablated = Ablated({"latency": effect(-1.0), "energy": replace(effect(-2.0), low=-inf, high=inf)})
    Ablations(tmp_path).keep(winner, other, ablated)
    known = Ablations(tmp_path)
    known.keep(other, winner, Ablated(reason="it crashed"))
    assert known.get(winner, other) == Ablations(tmp_path).get(winner, other) == ablated
    assert Ablations(tmp_path).get(other, winner) == Ablated(reason="it crashed")
    assert Ablations(tmp_path).get(other, other) is None
    (tmp_path / "ablations.json").write_text('{"a": {"b": {"effects": 1}}}')
    with pytest.raises(StudyError, match="damaged"):
        Ablations(tmp_path)


def test_a_space_is_read_back_as_it_was(tmp_path: Path) -> None:
    with pytest.raises(StudyError, match="does not hold its search space"):
        space_file.load(tmp_path)
    space_file.save(tmp_path, STRUCTURED)
    assert space_file.load(tmp_path) == STRUCTURED
    (tmp_path / "space.json").write_text("{}")
    with pytest.raises(StudyError, match="damaged"):
        space_file.load(tmp_path)


def test_the_table_shows_the_few_that_matter_and_says_how_many_others_there_are() -> None:
    effects = [*(-0.01 * n for n in range(shares.MOST_ROWS + 3)), 5.0]
    rows = [row(f"decision {n}", latency=effect(value)) for n, value in enumerate(effects)]
    whole = {"latency": effect(-1.0)}
    document = {
        "winner": "candidate-1", "trial": 1, "board": "kitchen", "total": shares.total(whole),
        "decisions": shares.with_shares(rows, whole), "together": shares.together(rows, whole),
    }  # fmt: skip
    console = Console(width=120, record=True, file=StringIO())
    console.print(shares.view(document))
    text = console.export_text()
    assert f"decision {len(effects) - 1}: on" in text  # what made it slower, above all
    assert "4 others, each 0.03 ms at most" in text
    assert text.count(": on") == shares.MOST_ROWS
