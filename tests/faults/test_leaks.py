"""Measurements over one connection: nothing grows, here or on the board."""

from __future__ import annotations

import contextlib
import gc
import os
import sys
import tempfile
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass, fields, replace
from pathlib import Path

import pytest

from tests.boards.tiny import FEEDS
from tests.faults.bench import SHORT, Bench
from tests.sshd import Sshd, descendants

SETTLING = 5
"""Measurements until whatever is made once has been made."""
GROWTH_BLOCKS_EACH = 10
"""What is left of one answer, or of one record of it, is more objects of Python's than that."""
GROWTH_BYTES = 4 << 20
"""An allocator rounds and keeps. The board's models and inputs, kept in memory 100 times, would be 100 MB."""


@dataclass(frozen=True)
class Use:
    """What host and board take at one moment; `runner` is the process that serves this client there."""

    blocks: int
    rss_bytes: int
    descriptors: int
    threads: int
    files: frozenset[str]
    runner_rss_bytes: int
    runner_descriptors: int
    runner_threads: int
    board_processes: int
    board_disk: frozenset[tuple[str, int]]

    @classmethod
    def of(cls, bench: Bench) -> Use:
        gc.collect()
        (runner,) = bench.runners()
        return cls(
            sys.getallocatedblocks(),
            _rss_bytes(os.getpid()),
            _entries("/proc/self/fd"),
            _entries("/proc/self/task"),
            frozenset(path.name for path in Path(tempfile.gettempdir()).iterdir()),
            _rss_bytes(runner),
            _entries(f"/proc/{runner}/fd"),
            _entries(f"/proc/{runner}/task"),
            len(descendants(bench.sshd.process.pid)) if bench.sshd.process else 0,
            _files(bench.sshd.folder),
        )

    def grown(self, before: Use, measurements: int) -> list[str]:
        """What is more than it was, by name."""
        most = {
            "blocks": GROWTH_BLOCKS_EACH * measurements,
            "rss_bytes": GROWTH_BYTES,
            "runner_rss_bytes": GROWTH_BYTES,
        }
        found = []
        for field in fields(self):
            now, was = getattr(self, field.name), getattr(before, field.name)
            if now - was > most.get(field.name, 0) if isinstance(now, int) else now - was:
                found.append(field.name)
        return found


def _entries(folder: str) -> int:
    return len(list(Path(folder).iterdir()))


def _rss_bytes(pid: int) -> int:
    pages = int(Path(f"/proc/{pid}/statm").read_text().split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE")


def _files(folder: Path) -> frozenset[tuple[str, int]]:
    """Of all that its users see: their home, and where the lease is kept; the server's log is no user's."""
    found = set()
    for path in folder.rglob("*"):
        with contextlib.suppress(FileNotFoundError):
            if path != folder / "log":
                found.add((str(path), path.stat().st_size))
    return frozenset(found)


@pytest.fixture
def bench(
    make_sshd: Callable[[str], Sshd], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Iterator[Bench]:
    scratch = tmp_path / "scratch"  # nobody else writes here
    scratch.mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(scratch))
    sshd = make_sshd("board")
    made = Bench(sshd, tmp_path)
    with (Path.home() / ".ssh" / "known_hosts").open("a") as file:
        file.write(sshd.known_hosts_line.replace(str(sshd.port), str(made.proxy.port)))
    yield made
    made.close()


@pytest.mark.parametrize(
    "measurements", [10, pytest.param(100, marks=[pytest.mark.long, pytest.mark.timeout(1800)])]
)
def test_measurements_leak_nothing(measurements: int, bench: Bench) -> None:
    models = [bench.good, bench.model("never -"), bench.model("run exit")]  # one of them always fails
    protocol = replace(SHORT, min_runs=2, window_s=0.01, slice_s=0.01)
    for _ in range(SETTLING):
        bench.board.measure(models, FEEDS, protocol)
    before = Use.of(bench)
    for _ in range(measurements):
        bench.board.measure(models, FEEDS, protocol)
    after = Use.of(bench)
    for field in fields(Use):
        now, was = getattr(after, field.name), getattr(before, field.name)
        print(field.name, f"{was} -> {now}" if isinstance(now, int) else f"{len(was)} -> {len(now)}")
    assert after.grown(before, measurements) == []


def test_what_would_leak_is_found(bench: Bench) -> None:
    assert bench.board
    before = Use.of(bench)
    assert Use.of(bench).grown(before, 100) == []
    over = threading.Event()
    kept = [str(number) * 9 for number in range(2000)]
    idle = threading.Thread(target=over.wait)
    idle.start()
    with Path("/dev/null").open():
        (bench.sshd.home / "left").write_bytes(b"left")
        Path(tempfile.gettempdir(), "left").touch()
        large = bytearray(os.urandom(1 << 20) * 64)  # much more than the kernel may take back meanwhile
        found = Use.of(bench).grown(before, 100)
    over.set()
    idle.join()
    assert found == ["blocks", "rss_bytes", "descriptors", "threads", "files", "board_disk"]
    assert len(kept) + len(large) > 0
