"""Plugins are found by file name, and listing them imports none."""

import subprocess
import sys
from pathlib import Path

import pytest

from edgeopt.core import plugins
from edgeopt.core.errors import ConfigError

HEAVY = ("torch", "onnx", "onnx_ir", "onnxruntime", "optuna", "scipy", "matplotlib", "paramiko")


def run(program: str, *path: Path) -> str:
    environment = {"PYTHONPATH": ":".join(str(p) for p in path)}
    finished = subprocess.run(
        [sys.executable, "-c", program], env=environment, capture_output=True, text=True, check=False
    )
    assert finished.returncode == 0, finished.stderr
    return finished.stdout.strip()


@pytest.mark.parametrize("family", plugins.FAMILIES)
def test_listing_a_family_imports_none_of_it(family: str) -> None:
    program = f"""
import sys
from edgeopt.core import plugins
found = plugins.names({family!r})
package = plugins.FAMILIES[{family!r}]
print([name for name in sys.modules if name.split('.')[0] in {HEAVY!r} or name.startswith(package + '.')])
"""
    assert run(program) == "[]"


@pytest.mark.parametrize("family", plugins.FAMILIES)
def test_every_plugin_loads_by_the_name_of_its_file(family: str) -> None:
    for name in plugins.names(family):
        assert plugins.load(family, name).__name__ == f"{plugins.FAMILIES[family]}.{name}"


def test_an_unknown_plugin_is_wrong_usage_and_the_known_ones_are_listed() -> None:
    with pytest.raises(ConfigError, match="unknown transport 'pigeon'") as caught:
        plugins.load("transports", "pigeon")
    assert all(name in str(caught.value.hint) for name in plugins.names("transports"))


def test_another_distribution_adds_a_plugin_with_an_entry_point(tmp_path: Path) -> None:
    info = tmp_path / "their_edgeopt-1.0.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: their-edgeopt\nVersion: 1.0\n")
    (info / "entry_points.txt").write_text("[edgeopt.meters]\ntheirs = their_meter\n")
    (tmp_path / "their_meter.py").write_text("ANSWER = 42\n")
    program = "from edgeopt.core import plugins; print(plugins.load('meters', 'theirs').ANSWER)"
    assert run(program, tmp_path) == "42"


def test_a_file_that_starts_with_an_underscore_is_no_plugin() -> None:
    assert not [n for family in plugins.FAMILIES for n in plugins.names(family) if n.startswith("_")]
