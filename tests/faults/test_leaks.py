"""A hundred measurements over one connection: nothing grows, here or on the board."""

from __future__ import annotations

import gc
import os
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path

import pytest

from tests.boards.tiny import FEEDS
from tests.faults.bench import SHORT, Bench
from tests.sshd import Sshd, descendants

MEASUREMENTS = 100
GROWTH_BYTES = 8 << 20
"""An allocator rounds and keeps; a leak of one answer or model per measurement would be more."""


@dataclass(frozen=True)
class Use:
    """What host and board take at one moment."""

    rss_bytes: int
    descriptors: int
    threads: int
    runner_rss_bytes: int
    runner_descriptors: int
    processes: int
    disk: frozenset[tuple[str, int]]

    @classmethod
    def of(cls, bench: Bench) -> Use:
        gc.collect()
        (runner,) = bench.runners()
        cache = bench.sshd.home / ".cache" / "edgeopt"
        return cls(
            _rss_bytes(os.getpid()),
            len(list(Path("/proc/self/fd").iterdir())),
            threading.active_count(),
            _rss_bytes(runner),
            len(list(Path(f"/proc/{runner}/fd").iterdir())),
            len(descendants(runner)),
            frozenset((str(path), path.stat().st_size) for path in cache.rglob("*")),
        )


def _rss_bytes(pid: int) -> int:
    pages = int(Path(f"/proc/{pid}/statm").read_text().split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE")


@pytest.fixture
def bench(make_sshd: Callable[[str], Sshd], tmp_path: Path) -> Iterator[Bench]:
    sshd = make_sshd("board")
    made = Bench(sshd, tmp_path)
    with (Path.home() / ".ssh" / "known_hosts").open("a") as file:
        file.write(sshd.known_hosts_line.replace(str(sshd.port), str(made.proxy.port)))
    yield made
    made.close()


@pytest.mark.long
@pytest.mark.timeout(1800)
def test_a_hundred_measurements_leak_nothing(bench: Bench) -> None:
    models = [bench.good, bench.model("never -"), bench.model("run exit")]  # one of them always fails
    protocol = replace(SHORT, min_runs=2, window_s=0.01, slice_s=0.01)
    for _ in range(5):
        bench.board.measure(models, FEEDS, protocol)
    before = Use.of(bench)
    for _ in range(MEASUREMENTS):
        bench.board.measure(models, FEEDS, protocol)
    after = Use.of(bench)
    print(before, after, sep="\n")
    assert after.rss_bytes - before.rss_bytes < GROWTH_BYTES
    assert after.runner_rss_bytes - before.runner_rss_bytes < GROWTH_BYTES
    same = ("descriptors", "threads", "runner_descriptors", "processes", "disk")
    assert [getattr(after, name) for name in same] == [getattr(before, name) for name in same]
