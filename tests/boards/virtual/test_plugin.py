"""Compiling the counting plugin."""

from __future__ import annotations

import os
import threading
from pathlib import Path

import pytest

from edgeopt.boards import places
from edgeopt.boards.virtual import plugin
from edgeopt.core.errors import BoardError, EdgeoptError


def script(folder: Path, name: str, body: str) -> None:
    folder.mkdir(exist_ok=True)
    (folder / name).write_text(f"#!/bin/sh\n{body}\n")
    (folder / name).chmod(0o755)


def shadowed(monkeypatch: pytest.MonkeyPatch, folder: Path, name: str, body: str) -> None:
    script(folder, name, body)
    monkeypatch.setenv("PATH", f"{folder}:{os.environ['PATH']}")


def test_it_is_compiled_once_and_kept() -> None:
    path = plugin.plugin()
    assert path.read_bytes()[:4] == b"\x7fELF"
    before = path.stat()
    assert plugin.plugin() == path
    assert path.stat() == before
    assert list(path.parent.iterdir()) == [path]


def test_it_compiles_without_a_warning(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(plugin, "FLAGS", (*plugin.FLAGS, "-Werror"))
    assert plugin.plugin().is_file()


def test_many_may_ask_at_once() -> None:
    paths: list[Path] = []
    threads = [threading.Thread(target=lambda: paths.append(plugin.plugin())) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(paths) == 4
    assert list(paths[0].parent.iterdir()) == [paths[0]]


def test_another_source_is_another_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    first = plugin.plugin()
    changed = tmp_path / "counting.c"
    changed.write_text(plugin.SOURCE.read_text() + "\n")
    monkeypatch.setattr(plugin, "SOURCE", changed)
    assert plugin.plugin() != first


@pytest.mark.parametrize(
    ("version", "loads"),
    [("7.2.22", True), ("8.2.4", True), ("9.0.0", False), ("10.0.2", False), ("5.2.0", False)],
)
def test_an_emulator_of_another_plugin_api_is_named(
    version: str, loads: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    shadowed(
        monkeypatch, tmp_path / "bin", "qemu-system-aarch64", f"echo 'QEMU emulator version {version} (x)'"
    )
    if loads:
        plugin.plugin()
        return
    name = ".".join(version.split(".")[:2])
    with pytest.raises(BoardError, match=f"QEMU {name} does not load plugins of API 1") as refusal:
        plugin.plugin()
    assert "7.2 to 8.2" in str(refusal.value.hint)


def test_a_missing_compiler_is_named_with_the_line_that_installs_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    script(tmp_path / "bin", "qemu-system-aarch64", "echo QEMU emulator version 7.2.0")
    monkeypatch.setenv("PATH", str(tmp_path / "bin"))
    with pytest.raises(BoardError, match="gcc") as refusal:
        plugin.plugin()
    assert "apt-get install" in str(refusal.value.hint)


def test_a_compiler_that_fails_says_why_and_leaves_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    broken = tmp_path / "counting.c"
    broken.write_text("int no(\n")
    monkeypatch.setattr(plugin, "SOURCE", broken)
    with pytest.raises(BoardError, match=r"gcc failed: .*error") as refusal:
        plugin.plugin()
    assert "\n" not in refusal.value.message
    assert not list((places.cache() / "virtual" / "plugin").iterdir())


def test_a_cache_that_cannot_be_written_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("EDGEOPT_CACHE", str(tmp_path / "file"))
    with pytest.raises(EdgeoptError, match=r"cannot write .*/file/virtual/plugin"):
        plugin.plugin()
