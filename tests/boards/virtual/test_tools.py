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


@pytest.mark.parametrize(
    ("there", "taken", "said"),
    [
        (("19", "20"), "19", None),
        (("21", "20"), "20", "LLVM 20"),
        (("18", "24"), "24", "LLVM 24"),
        (("18",), None, None),
    ],
)
def test_the_llvm_that_the_calibration_was_made_with_comes_first_and_another_is_said(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    there: tuple[str, ...],
    taken: str | None,
    said: str | None,
) -> None:
    for version in there:
        (tmp_path / f"llvm-mca-{version}").touch(mode=0o755)
    monkeypatch.setenv("PATH", str(tmp_path))
    found = tools.llvm("llvm-mca")
    assert (found.name if found else None) == (f"llvm-mca-{taken}" if taken else None)
    remark = tools.other_llvm()
    assert (remark is None) is (said is None)
    if said and remark:
        assert said in remark
        assert "apt-get install -y --no-install-recommends llvm-19" in remark


def test_an_unnumbered_llvm_of_the_right_version_comes_before_a_newer_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "llvm-mca-20").touch(mode=0o755)
    program = tmp_path / "opt" / "llvm-19" / "llvm-mca"
    program.parent.mkdir(parents=True)
    program.touch(mode=0o755)
    (tmp_path / "llvm-mca").symlink_to(program)
    monkeypatch.setenv("PATH", str(tmp_path))
    assert tools.llvm("llvm-mca") == tmp_path / "llvm-mca"
    assert tools.other_llvm() is None


def test_system_folders_are_looked_at_too(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "mkfs.ext4").write_text("#!/bin/sh\n")
    (tmp_path / "mkfs.ext4").chmod(0o755)
    monkeypatch.setenv("PATH", "")
    monkeypatch.setattr(tools, "SYSTEM_FOLDERS", str(tmp_path))
    assert tools.which("mkfs.ext4") == str(tmp_path / "mkfs.ext4")
