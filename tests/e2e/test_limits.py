"""Limits and flags mean what they say: for the original, too, and on a board that cannot tell."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest

from tests.e2e.contract import check_error, check_result
from tests.e2e.program import Program

QUICK = ("--threads", 1, "--budget", 0, "-o", "out")


def test_a_size_that_only_a_recipe_keeps_makes_the_recipe_the_result(
    inside: Program, model: Path, data: Path
) -> None:
    limit = round(model.stat().st_size * 0.7)
    ran = inside.optimize(model.name, "--data", data.name, "--max-drop", 0.2, "--max-size", limit, *QUICK)
    assert ran.code == 0, ran.err
    check_result(ran.document)
    assert ran.document["verdict"] == "reference"
    assert ran.document["best"]["size_bytes"] <= limit


def test_a_size_that_nothing_keeps_is_exit_5_with_the_document(inside: Program, model: Path) -> None:
    ran = inside.optimize(model.name, "--max-size", 10, *QUICK)
    assert ran.code == 5, ran.err
    assert ran.document["verdict"] == "original"


@pytest.mark.parametrize(
    ("flags", "code"),
    [
        (("--objective", "energy"), 2),
        (("--objective", "energy", "--allow-modelled-energy"), 2),
        (("--threads", 1000), 2),
        (("--max-power", 5), 4),
        (("--batch", 4, "--shape", "x=3,32"), 2),
    ],
)
def test_what_cannot_be_done_is_refused(
    inside: Program, model: Path, flags: tuple[object, ...], code: int
) -> None:
    ran = inside.optimize(model.name, "--budget", 0, "-o", "out", *flags)
    assert ran.code == code, (ran.out, ran.err)
    check_error(ran.document)


def test_a_predicted_board_refuses_an_objective_that_it_cannot_tell(inside: Program, model: Path) -> None:
    ran = inside(
        "optimize", model.name, "--device", "rpi4", "--board", "predicted", "--objective", "memory",
        "--budget", 0, "-o", "out", "--json",
    )  # fmt: skip
    assert ran.code == 4, ran.err
    assert "cannot tell" in ran.document["error"]["message"]


def test_a_folder_that_was_moved_or_cleaned_is_made_good(inside: Program, model: Path) -> None:
    flags = (model.name, "--sampler", "random", "--threads", 1)
    first = inside.optimize(*flags, "--budget", "1 trials", "-o", "out")
    assert first.code == 0, first.err
    moved = inside.folder / "elsewhere"
    (inside.folder / "out").rename(moved)
    shutil.rmtree(moved / "artifacts")
    (moved / "best.onnx").unlink()
    again = inside.optimize(*flags, "--budget", "2 trials", "-o", "elsewhere")
    assert again.code == 0, again.err
    assert set(again.told).isdisjoint(first.told)
    assert again.document["artifact"] == str(moved / "best.onnx")
    assert (moved / "best.onnx").is_file()
    assert json.loads((moved / "best.json").read_text())["artifact"] == str(moved / "best.onnx")


def test_other_fixed_values_are_another_study(inside: Program, model: Path) -> None:
    """Measurements of one input are not those of another."""
    flags = (model.name, *QUICK)
    assert inside.optimize(*flags, "--fixed", "x=1").code == 0
    ran = inside.optimize(*flags, "--fixed", "x=2")
    assert ran.code == 2, ran.err
    assert "data" in ran.document["error"]["message"]
