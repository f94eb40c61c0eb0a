"""The units of systemd call commands that there are."""

from __future__ import annotations

import configparser
import shlex
import subprocess
from pathlib import Path

import pytest

from tests.field.device.agents import ROOT, module

UNITS = sorted((ROOT / "firmware_scripts" / "field").iterdir())


def read(unit: Path) -> configparser.ConfigParser:
    parser = configparser.ConfigParser(interpolation=None, comment_prefixes=("#",))
    parser.optionxform = str  # type: ignore[assignment]
    parser.read_string(unit.read_text())
    return parser


@pytest.mark.parametrize(
    "unit", [one for one in UNITS if one.suffix == ".service"], ids=lambda unit: unit.name
)
def test_a_service_runs_a_command_of_the_agent(unit: Path) -> None:
    python, script, *words = shlex.split(read(unit)["Service"]["ExecStart"])
    assert (python, script) == ("/usr/bin/python3", f"{module().ROOT}/bin/edgeopt_field.py")
    asked = module().parsed(words)
    assert (asked.root, f"edgeopt-field-{asked.command}.service") == (module().ROOT, unit.name)


@pytest.mark.parametrize("unit", [one for one in UNITS if one.suffix == ".timer"], ids=lambda unit: unit.name)
def test_a_timer_has_its_service(unit: Path) -> None:
    assert unit.with_suffix(".service") in UNITS
    assert "OnUnitInactiveSec" in read(unit)["Timer"]


def test_systemd_understands_them() -> None:
    done = subprocess.run(
        ["systemd-analyze", "verify", "--man=no", *UNITS], capture_output=True, text=True, check=False
    )
    assert "edgeopt" not in done.stderr.replace("Command /usr/bin/python3", "")
