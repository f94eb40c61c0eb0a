"""The shape of the project: file sizes, layers, pins, and what a fresh machine is told."""

import os
import re
import shutil
import statistics
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.specifiers import SpecifierSet

from edgeopt.core import plugins

ROOT = Path(__file__).parent.parent
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())
SOURCES = sorted([*ROOT.glob("edgeopt/**/*.py"), *ROOT.glob("firmware_scripts/*.py")])
TESTS = sorted(path for name in ("tests", "benchmarks", "examples") for path in ROOT.glob(f"{name}/**/*.py"))
PACKAGES = sorted(p.parent.name for p in ROOT.glob("edgeopt/*/__init__.py") if p.parent.name != "testing")
FORBIDDEN_NAMES = {"utils.py", "util.py", "helpers.py", "helper.py", "misc.py", "common.py"}


def lines(path: Path) -> int:
    return len(path.read_text().splitlines())


def id_of(path: Path) -> str:
    return str(path.relative_to(ROOT))


def test_files_are_short() -> None:
    # The on-board runner is one file by contract: it is what a board receives.
    written = [path for path in (*SOURCES, *TESTS) if path.parent.name != "firmware_scripts"]
    assert {id_of(path): lines(path) for path in written if lines(path) > 400} == {}
    assert statistics.median(lines(path) for path in SOURCES if lines(path) > 5) <= 150


def test_no_file_is_a_drawer_for_anything() -> None:
    assert [id_of(path) for path in SOURCES if path.name in FORBIDDEN_NAMES] == []


@pytest.mark.parametrize("word", ["TODO", "FIXME", "XXX", "raise NotImplementedError"])
def test_nothing_is_left_for_later(word: str) -> None:
    assert [id_of(path) for path in SOURCES if re.search(rf"\b{word}\b", path.read_text())] == []


def test_no_class_is_named_for_nothing_in_particular() -> None:
    vague = re.compile(r"^class \w*(Manager|Handler|Helper|Utils)\b", re.MULTILINE)
    assert [id_of(path) for path in SOURCES if vague.search(path.read_text())] == []


def test_tests_mirror_the_tree() -> None:
    assert [package for package in PACKAGES if not list((ROOT / "tests" / package).glob("test_*.py"))] == []


def test_low_layers_do_not_import_high_ones() -> None:
    program = Path(sys.executable).parent / "lint-imports"
    finished = subprocess.run([program], cwd=ROOT, capture_output=True, text=True, check=False)
    assert finished.returncode == 0, finished.stdout


@pytest.mark.parametrize("family", [f for f in plugins.FAMILIES if plugins.names(f)])
def test_a_plugin_family_says_what_its_plugins_are(family: str) -> None:
    package = ROOT / plugins.FAMILIES[family].replace(".", "/")
    assert "Protocol" in (package / "__init__.py").read_text()


def pins() -> dict[str, str]:
    found = re.findall(r"^([A-Za-z0-9_.-]+)==(\S+)$", (ROOT / "constraints.txt").read_text(), re.MULTILINE)
    return {_normal(name): version for name, version in found}


def test_every_dependency_is_pinned_within_its_range() -> None:
    project = PROJECT["project"]
    wanted = [Requirement(r) for r in [*project["dependencies"], *project["optional-dependencies"]["dev"]]]
    pinned = pins()
    missing = [r.name for r in wanted if _normal(r.name) not in pinned]
    outside = [r.name for r in wanted if r.name not in missing and pinned[_normal(r.name)] not in r.specifier]
    assert (missing, outside) == ([], [])


def test_no_pin_is_of_a_build_that_only_one_index_has() -> None:
    assert [name for name, version in pins().items() if "+" in version] == []


def test_the_runtime_is_pinned_below_the_version_that_calls_home() -> None:
    (runtime,) = (Requirement(r) for r in PROJECT["project"]["dependencies"] if r.startswith("onnxruntime"))
    assert "1.29" not in runtime.specifier
    assert pins()["onnxruntime"] in SpecifierSet("<1.29")
    assert "ORT_DISABLE_TELEMETRY := 1" in (ROOT / "Makefile").read_text()
    assert "ORT_DISABLE_TELEMETRY=1" in (ROOT / ".ci" / "run").read_text()


@pytest.mark.parametrize("script", ["run", "need"])
def test_what_ci_runs_is_executable_and_stops_at_the_first_failure(script: str) -> None:
    path = ROOT / ".ci" / script
    assert os.access(path, os.X_OK)
    assert "set -euo pipefail" in path.read_text()


def test_hooks_need_no_network() -> None:
    repositories = re.findall(r"repo: (\S+)", (ROOT / ".pre-commit-config.yaml").read_text())
    assert repositories == ["local"]


def need(folder: Path, *things: str, **programs: str) -> subprocess.CompletedProcess[str]:
    """Run `.ci/need` on a machine that has only `programs` (name: shell script) and a few basics."""
    for basic in ("bash", "env", "cat"):
        (folder / basic).symlink_to(str(shutil.which(basic)))
    for name, script in programs.items():
        (folder / name.replace("_", "-")).write_text(f"#!/bin/sh\n{script}\n")
        (folder / name.replace("_", "-")).chmod(0o755)
    return subprocess.run(
        [ROOT / ".ci" / "need", *things],
        env={"PATH": str(folder)},
        capture_output=True,
        text=True,
        check=False,
    )


def test_what_is_there_needs_nothing(tmp_path: Path) -> None:
    finished = need(tmp_path, "git", git="exit 0")
    assert (finished.returncode, finished.stdout, finished.stderr) == (0, "", "")


def test_without_apt_missing_packages_are_named(tmp_path: Path) -> None:
    finished = need(tmp_path, "some-tool", "ssh-keygen")
    assert finished.returncode == 1
    assert finished.stderr == "error: please install: some-tool openssh-client\n"


def test_root_is_shown_the_line_before_it_runs(tmp_path: Path) -> None:
    finished = need(tmp_path, "some-tool", apt_get='echo "apt-get $@"', id="echo 0")
    assert finished.returncode == 0, finished.stderr
    shown, update, install = finished.stdout.splitlines()
    assert shown == "+ apt-get install -y --no-install-recommends some-tool"
    assert update.startswith("apt-get update")
    assert install.endswith("some-tool")


def test_a_user_without_rights_is_told_the_line(tmp_path: Path) -> None:
    finished = need(tmp_path, "some-tool", apt_get="exit 9", id="echo 1000", sudo="exit 1")
    assert finished.returncode == 1
    assert "sudo apt-get install -y --no-install-recommends some-tool" in finished.stderr


def _normal(name: str) -> str:
    return re.sub(r"[-_.]+", "-", name).lower()


def test_no_merge_is_left_half_done() -> None:
    """A conflict in a page is no error of any tool, and ends up in front of a reader."""
    mark = re.compile(rb"^(<{7}|>{7}) ", re.MULTILINE)
    listed = subprocess.run(["git", "ls-files", "-z"], cwd=ROOT, capture_output=True, check=False).stdout
    files = [ROOT / name for name in listed.decode().split("\0") if name] or [*ROOT.glob("docs/**/*.md")]
    assert [
        id_of(f) for f in files if f.is_file() and not f.is_symlink() and mark.search(f.read_bytes())
    ] == []
