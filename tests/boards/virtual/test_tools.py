"""What is missing on the host is named, with the line that installs it."""

from __future__ import annotations

from pathlib import Path

import pytest

from edgeopt.boards.virtual import tools
from edgeopt.core.errors import BoardError


def test_a_machine_with_nothing_is_told_one_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.setattr(tools, "SYSTEM_FOLDERS", str(tmp_path))
    with pytest.raises(BoardError) as refusal:
        tools.require()
    assert "qemu-system-aarch64" in refusal.value.message
    assert "\n" not in refusal.value.message
    assert refusal.value.hint is not None
    words = refusal.value.hint.split()
    assert words[:4] == ["sudo", "apt-get", "install", "-y"]
    assert {"qemu-system-arm", "mmdebstrap", "e2fsprogs", "fakeroot", "gcc", "llvm-19"} <= set(words)
    assert words.count("llvm-19") == 1


def test_this_machine_has_what_the_tests_need() -> None:
    assert tools.missing() == ()


@pytest.mark.parametrize(
    ("folder", "name", "good"),
    [
        ("llvm-14/bin", "llvm-mca", False),
        ("llvm-19/bin", "llvm-mca", True),
        ("usr/lib/llvm20/bin", "llvm-mca", True),
        ("usr/bin", "llvm-mca-19", True),
        ("usr/bin", "llvm-mca-18", False),
        ("usr/bin", "llvm-mca", False),
    ],
)
def test_llvm_must_be_new_enough(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, folder: str, name: str, good: bool
) -> None:
    program = tmp_path / folder / name
    program.parent.mkdir(parents=True)
    program.write_text("#!/bin/sh\n")
    program.chmod(0o755)
    on_path = tmp_path / "path"
    on_path.mkdir()
    (on_path / name).symlink_to(program)
    monkeypatch.setenv("PATH", str(on_path))
    assert (tools.llvm("llvm-mca") is not None) is good


def test_system_folders_are_looked_at_too(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "mkfs.ext4").write_text("#!/bin/sh\n")
    (tmp_path / "mkfs.ext4").chmod(0o755)
    monkeypatch.setenv("PATH", "")
    monkeypatch.setattr(tools, "SYSTEM_FOLDERS", str(tmp_path))
    assert tools.which("mkfs.ext4") == str(tmp_path / "mkfs.ext4")
