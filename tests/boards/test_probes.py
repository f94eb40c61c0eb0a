"""Probes read what boards print; each file of `tests/fixtures/probes/<probe>/` is a test."""

from __future__ import annotations

import json
from contextlib import closing
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from edgeopt.boards.address import Address
from edgeopt.boards.probes import PROBES, probe
from edgeopt.boards.transports import local

FIXTURES = Path(__file__).parents[1] / "fixtures" / "probes"
FILES = sorted(FIXTURES.glob("*/*.json"))


@pytest.mark.parametrize("file", FILES, ids=lambda file: f"{file.parent.name}-{file.stem}")
def test_recorded_outputs(file: Path) -> None:
    recorded = json.loads(file.read_text())
    assert set(recorded) == {"command", "output", "expected"}
    assert recorded["command"] == PROBES[file.parent.name].command, "record the output of the new command"
    assert PROBES[file.parent.name].parse(recorded["output"]) == recorded["expected"]


@pytest.mark.parametrize("name", PROBES)
def test_every_probe_has_recordings_of_every_board(name: str) -> None:
    assert {file.stem for file in FILES if file.parent.name == name} == {file.stem for file in FILES}


@pytest.mark.parametrize("name", PROBES)
@given(text=st.text() | st.from_regex(r"throttled=0x[0-9a-f]*|MemTotal: *[0-9]* kB|-?[0-9 ]+"))
def test_no_output_raises(name: str, text: str) -> None:
    json.dumps(PROBES[name].parse(text))


def test_probes_run_on_this_machine() -> None:
    with closing(local.connect(Address.parse("local"))) as transport:
        found = probe(transport)
    assert set(found) == set(PROBES)
    assert found["cores"] >= 1
    assert found["meminfo"] > 2**28
