"""What real boards printed for others, who published it, is read as it should be: `data/published`.

A file holds what is known of one board: for each output its probe, where it was published, the text itself
(but for the unit's serial number) and what is to be read of it; the device that the board is, and in which of
the facts that /proc/cpuinfo tells it differs from that device, for a 32-bit system.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from edgeopt.boards import profiles
from edgeopt.boards.facts import probed
from edgeopt.boards.identity import differences
from edgeopt.boards.meters import Reading, Recording, Settings, pmic
from edgeopt.boards.probes import PROBES, read
from edgeopt.boards.readings import without_serial_numbers

FILES = sorted((Path(__file__).parent / "data" / "published").glob("*.json"))
TOLD = {"cores", "core count", "ISA flags", "model"}
"""Facts that /proc/cpuinfo tells; the model only on a Raspberry Pi."""


def board(file: Path) -> dict[str, Any]:
    return dict(json.loads(file.read_text()))


@pytest.mark.parametrize("file", FILES, ids=lambda file: file.stem)
def test_what_was_published_is_read(file: Path) -> None:
    for output in board(file)["outputs"]:
        found = PROBES[output["probe"]].parse(output["printed"])
        assert (list(found) if isinstance(found, tuple) else found) == output["expected"], output["source"]


@pytest.mark.parametrize(
    "file", [file for file in FILES if board(file)["device"]], ids=lambda file: file.stem
)
def test_the_profile_of_the_device_fits_the_board(file: Path) -> None:
    known = board(file)
    outputs = {output["probe"]: output["printed"] for output in known["outputs"]}
    facts = probed(read(outputs))
    told = TOLD if facts.model else TOLD - {"model"}
    differing = {one.fact for one in differences(profiles.load(known["device"]), facts)}
    assert differing & told == set(known["differs"])


def test_boards_of_several_makers_say_where_they_were_published() -> None:
    assert len(FILES) >= 12
    for file in FILES:
        for output in board(file)["outputs"]:
            assert output["source"].startswith("https://")
            assert without_serial_numbers(output["printed"]) == output["printed"]


def test_the_regulator_of_a_published_pi5_gives_its_power() -> None:
    """10.80 W of twelve rails, most of it the cores'; the fit makes it the board's."""
    (file,) = [file for file in FILES if file.stem == "rpi5"]
    (text,) = [one["printed"] for one in board(file)["outputs"] if one["probe"] == "pmic_rails"]
    rails = pmic.rail_powers_w(text)
    assert max(rails) == pytest.approx(10.87674 * 0.8974594)
    (sample,) = pmic.parse(Recording("", (Reading(0.0, text),)), Settings("pmic"))
    assert sample.power_w == pytest.approx(12.955, abs=1e-3)
