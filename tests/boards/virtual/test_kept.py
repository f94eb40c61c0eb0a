"""Counts outlive the process that took them, and are believed only while they are whole."""

from __future__ import annotations

import multiprocessing
import os
from dataclasses import replace
from pathlib import Path

import pytest

from edgeopt.boards.virtual import counting, kept
from edgeopt.boards.virtual.kept import Counted
from edgeopt.boards.virtual.nodes import Event
from edgeopt.core.errors import EdgeoptError

COUNTS = Path(__file__).parents[2] / "fixtures" / "counts" / "three_nodes_cortex_a72.counts"


def counted() -> Counted:
    return Counted(counting.read(COUNTS), (Event("Node", "a_kernel_time", 1.0, 2.5),), 50_000_000, None)


def file(key: str) -> Path:
    return kept.folder() / f"{key}.json.gz"


def test_what_is_kept_comes_back_as_it_was() -> None:
    assert kept.recall("a") is None
    kept.keep("a", counted())
    found, known = kept.recall("a"), counted()
    assert found is not None
    assert found.counts.segments == known.counts.segments
    assert found.counts.instructions == known.counts.instructions
    assert replace(found, counts=known.counts) == known


@pytest.mark.parametrize("at", [0, 10, 0.5, -1])
def test_a_damaged_file_is_not_believed(at: float) -> None:
    kept.keep("a", counted())
    content = bytearray(file("a").read_bytes())
    place = int(at * len(content)) if 0 < at < 1 else int(at)
    content[place] ^= 0xFF if place != 10 else 0x06
    file("a").write_bytes(content)
    assert kept.recall("a") is None


@pytest.mark.parametrize("content", [b"", b"nonsense"])
def test_a_file_that_is_cut_is_not_believed(content: bytes) -> None:
    kept.keep("a", counted())
    file("a").write_bytes(content or file("a").read_bytes()[:-9])
    assert kept.recall("a") is None
    kept.keep("a", counted())
    assert kept.recall("a") is not None


def test_those_used_longest_ago_go_first() -> None:
    for age, key in enumerate("cba"):
        kept.keep(key, counted())
        os.utime(file(key), (1000 + age, 1000 + age))
    assert kept.recall("c") is not None  # used now
    kept.keep("d", counted(), limit_bytes=int(3.5 * file("a").stat().st_size))
    assert [key for key in "abcd" if file(key).exists()] == ["a", "c", "d"]


def test_many_processes_may_keep_the_same() -> None:
    with multiprocessing.get_context("spawn").Pool(3) as pool:
        pool.starmap(kept.keep, [("a", counted())] * 6)
    assert kept.recall("a") is not None
    assert [path.name for path in kept.folder().iterdir()] == ["a.json.gz"]


def test_no_room_is_said(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("EDGEOPT_CACHE", str(tmp_path / "file"))
    with pytest.raises(EdgeoptError, match="cannot write"):
        kept.keep("a", counted())
