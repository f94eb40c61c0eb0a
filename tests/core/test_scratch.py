"""Temporary folders go with their block; those of a killed process, with the next one that is made."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from edgeopt.core.scratch import PREFIX, YOUNG_S, scratch

HOLDER = """
import sys
from edgeopt.core.scratch import scratch
with scratch() as folder:
    (folder / "feeds.npz").touch()
    print(folder, flush=True)
    sys.stdin.read()
"""


@pytest.fixture
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("TMPDIR", str(tmp_path))
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    return tmp_path


def left(place: Path) -> list[Path]:
    return list(place.glob(f"{PREFIX}*"))


def test_a_folder_goes_with_its_block_also_if_that_fails(place: Path) -> None:
    def fail() -> None:
        with scratch() as folder:
            (folder / "x").touch()
            raise KeyError

    with pytest.raises(KeyError):
        fail()
    assert left(place) == []


def test_what_a_killed_process_left_goes_and_what_a_living_one_has_stays(place: Path) -> None:
    with subprocess.Popen(
        [sys.executable, "-c", HOLDER], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as holder:
        assert holder.stdout
        folder = Path(holder.stdout.readline().strip())
        os.utime(folder, (0, 0))
        with scratch():
            assert (folder / "feeds.npz").exists()
        holder.kill()
        holder.wait()
    with scratch():
        assert not folder.exists()
    assert left(place) == []


def test_a_folder_that_its_maker_has_had_no_time_to_lock_stays(place: Path) -> None:
    fresh = place / f"{PREFIX}fresh"
    fresh.mkdir()
    with scratch():
        assert fresh.exists()
    past_s = fresh.stat().st_mtime - YOUNG_S - 1
    os.utime(fresh, (past_s, past_s))
    with scratch():
        assert not fresh.exists()
