"""The tools' environment is made once, whole or not at all, whoever else is at it."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import textwrap
import threading
import time
from pathlib import Path

import pytest

from edgeopt.core.errors import EdgeoptError
from edgeopt.graph.litert import environment as module
from edgeopt.graph.litert import pythons
from edgeopt.graph.litert.environment import READY, TOOLS, Environment, environment
from edgeopt.graph.litert.pythons import find_python


@pytest.fixture
def small(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Few tools, from a folder instead of the package index; returns that folder."""
    packages = tmp_path / "packages"
    packages.mkdir()
    wheel(packages / "tiny_tool-1.0-py3-none-any.whl")
    tools = tmp_path / "tools.txt"
    tools.write_text(f"--no-index\n--find-links {packages}\ntiny_tool==1.0\n")
    monkeypatch.setattr(module, "TOOLS", tools)
    monkeypatch.setattr(pythons, "VERSIONS", (f"3.{sys.version_info.minor}",))
    return packages


def test_it_is_made_once_and_again_when_it_is_not_whole(small: Path, home: Path) -> None:
    said: list[str] = []
    made = environment(said.append)
    assert made.folder.parent == home / ".cache" / "edgeopt" / "litert"
    assert said == ["installing the LiteRT conversion tools (about half a minute, 530 MB, once)"]
    finished = subprocess.run([made.python, "-I", "-c", "import tiny_tool"], check=False)
    assert finished.returncode == 0
    before = (made.folder / READY).stat().st_mtime_ns
    assert environment(said.append) == made
    assert (made.folder / READY).stat().st_mtime_ns == before
    assert len(said) == 1
    (made.folder / "leftover").touch()
    made.python.unlink()
    made.python.symlink_to("/nowhere/python")  # as when that Python was removed
    assert environment(said.append) == made
    assert len(said) == 2
    assert made.python.exists()
    assert not (made.folder / "leftover").exists()


def test_other_tools_get_another_environment(small: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "_is_ready", lambda _: True)
    first = environment()
    module.TOOLS.write_text(module.TOOLS.read_text().replace("==1.0", "==2.0"))
    second = environment()
    assert first.folder != second.folder
    assert first.digest != second.digest


def test_an_installer_that_fails_leaves_nothing_and_says_why(small: Path) -> None:
    (small / "tiny_tool-1.0-py3-none-any.whl").unlink()
    with pytest.raises(EdgeoptError) as failure:
        environment()
    assert "No matching distribution found for tiny_tool==1.0" in failure.value.message
    assert "\n" not in failure.value.message
    assert failure.value.hint
    log = Path(failure.value.hint.rpartition(" ")[2])
    assert "tiny_tool" in log.read_text()
    assert [path.suffix for path in log.parent.iterdir() if path.is_dir()] == []


def test_two_processes_make_one(small: Path) -> None:
    code = patched(small)
    both = [subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, text=True) for _ in "ab"]
    answers = [child.communicate(timeout=120)[0].splitlines() for child in both]
    assert [child.returncode for child in both] == [0, 0]
    assert answers[0][-1] == answers[1][-1]
    assert sum(line.startswith("installing") for answer in answers for line in answer) == 1


def test_a_killed_process_leaves_nothing_to_trip_over(small: Path) -> None:
    child = subprocess.Popen([sys.executable, "-c", patched(small)], stdout=subprocess.PIPE, text=True)
    assert child.stdout is not None
    assert child.stdout.readline().startswith("installing")
    folder = module.cache_folder() / "litert"
    while not list(folder.glob("tools-*/bin")):
        time.sleep(0.01)
    child.kill()
    child.wait()
    child.stdout.close()
    assert not list(folder.glob(f"tools-*/{READY}"))
    assert environment().python.exists()


def test_interrupting_it_leaves_nothing_to_trip_over(small: Path) -> None:
    timer = threading.Timer(0.5, lambda: os.kill(os.getpid(), signal.SIGINT))
    timer.start()
    with pytest.raises(KeyboardInterrupt):
        environment()
    timer.join()
    assert [path.name for path in (module.cache_folder() / "litert").iterdir() if path.is_dir()] == []


def test_no_disk_is_one_line(small: Path, home: Path) -> None:
    (home / ".cache").write_text("a file where a folder should be")
    with pytest.raises(EdgeoptError, match=r"cannot write .*tools-"):
        environment()


def test_without_a_suitable_python_it_says_what_to_install(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.setenv("PYENV_ROOT", str(tmp_path))
    monkeypatch.setattr(pythons, "VERSIONS", ("9.9",))
    with pytest.raises(EdgeoptError, match=r"needs Python 9\.9, and none was found") as failure:
        environment()
    assert failure.value.hint == (
        "install one: apt-get install python3.12-venv, or pyenv install 3.12, or uv python install 3.12"
    )


@pytest.mark.parametrize("where", ["path", "pyenv", "uv"])
def test_a_python_is_found(where: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Each with pretenders before it: one that fails, as pyenv's shims do, and one that is too old."""
    monkeypatch.setattr(pythons, "VERSIONS", ("9.8", "9.9"))
    monkeypatch.setenv("PYENV_ROOT", str(tmp_path / "pyenv"))
    monkeypatch.setenv("PATH", f"{tmp_path / 'bin'}:/bin:/usr/bin")
    script(tmp_path / "bin" / "python9.8", "echo 'pyenv: python9.8: command not found' >&2; exit 127")
    script(tmp_path / "bin" / "python3", "echo 3.6")
    wanted = {
        "path": tmp_path / "bin" / "python9.9",
        "pyenv": tmp_path / "pyenv" / "versions" / "9.8.1" / "bin" / "python",
        "uv": tmp_path / "elsewhere" / "python",
    }[where]
    script(wanted, "echo 9.8")
    if where == "uv":
        script(tmp_path / "bin" / "uv", f"[ \"$4\" = 9.9 ] && echo '{wanted}'")
    assert find_python() == wanted


def test_every_tool_is_pinned() -> None:
    lines = [line for line in TOOLS.read_text().splitlines() if not line.startswith("#")]
    assert all("==" in line for line in lines)
    assert "onnx2tf==2.6.9" in lines
    assert "litert-quantizer==0.11.0" in lines
    assert not any(line.startswith(("tensorflow", "torch", "onnxruntime==1.29")) for line in lines)


def test_its_programs_inherit_nothing_of_this_python(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("PYTHONPATH", "/somewhere")
    monkeypatch.setenv("PYTHONHOME", "/somewhere")
    variables = Environment(tmp_path, "d").variables()
    assert "PYTHONPATH" not in variables
    assert "PYTHONHOME" not in variables
    assert variables["PATH"].startswith(f"{tmp_path}/bin:")
    assert variables["ORT_DISABLE_TELEMETRY"] == "1"


def patched(packages: Path) -> str:
    """A program that makes the small environment."""
    return textwrap.dedent(f"""
        from pathlib import Path
        from edgeopt.graph.litert import environment, pythons
        environment.TOOLS = Path({str(packages.parent / "tools.txt")!r})
        pythons.VERSIONS = ("3.{sys.version_info.minor}",)
        print(environment.environment(lambda line: print(line, flush=True)).folder)
    """)


def script(path: Path, content: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(f"#!/bin/sh\n{content}\n")
    path.chmod(0o755)


def wheel(path: Path) -> None:
    """A package of one empty module."""
    import zipfile

    name, version = path.name.split("-")[:2]
    folder = f"{name}-{version}.dist-info"
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr(f"{name}.py", "")
        archive.writestr(f"{folder}/METADATA", f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n")
        archive.writestr(f"{folder}/WHEEL", "Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: py3-none-any\n")
        archive.writestr(f"{folder}/RECORD", "")
