"""What was counted, kept between processes: a command that is repeated counts nothing again.

One file for each count, named by all that it depends on, written whole or not at all. Two processes that
count the same write the same. A file that is damaged is counted again; those used longest ago go when all are
too many.
"""

from __future__ import annotations

import contextlib
import gzip
import json
import os
import zlib
from dataclasses import dataclass
from pathlib import Path

from edgeopt.boards import places
from edgeopt.boards.virtual.counting import CacheTraffic, Counts, Segment
from edgeopt.boards.virtual.nodes import Event
from edgeopt.core.files import cannot_write, write_atomically

LIMIT_BYTES = 256 << 20
SUFFIX = ".json.gz"


@dataclass(frozen=True, slots=True)
class Counted:
    """One inference, counted on one thread of the guest."""

    counts: Counts
    events: tuple[Event, ...]
    peak_rss_bytes: int
    runtime_rss_bytes: int | None


def folder() -> Path:
    """Where counts are kept."""
    return places.cache() / "counts"


def recall(key: str) -> Counted | None:
    """What was counted under this key; None if it is not known, or not whole."""
    path = folder() / f"{key}{SUFFIX}"
    try:
        document = json.loads(gzip.decompress(path.read_bytes()))
        blocks = {block: tuple(words) for block, words in document["blocks"].items()}
        segments = tuple(
            Segment(one["ran"], one["accesses"], tuple(CacheTraffic(*level) for level in one["caches"]))
            for one in document["segments"]
        )
        found = Counted(
            Counts(blocks, segments),
            tuple(Event(*event) for event in document["events"]),
            document["peak_rss_bytes"],
            document["runtime_rss_bytes"],
        )
        os.utime(path)
    except (OSError, EOFError, zlib.error, ValueError, KeyError, TypeError, AttributeError):
        return None
    return found


def keep(key: str, counted: Counted, limit_bytes: int = LIMIT_BYTES) -> None:
    """Keep a count, and let go of those used longest ago.

    Raises:
        EdgeoptError: No room, or no permission.
    """
    ran = {block for segment in counted.counts.segments for block in segment.ran}
    document = {
        "blocks": {block: counted.counts.blocks[block] for block in sorted(ran)},
        "segments": [
            {
                "ran": dict(one.ran),
                "accesses": one.accesses,
                "caches": [[c.misses, c.streamed, c.written_back] for c in one.caches],
            }
            for one in counted.counts.segments
        ],
        "events": [[e.category, e.name, e.begin_us, e.duration_us] for e in counted.events],
        "peak_rss_bytes": counted.peak_rss_bytes,
        "runtime_rss_bytes": counted.runtime_rss_bytes,
    }
    path = folder() / f"{key}{SUFFIX}"
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise cannot_write(path.parent, error) from error
    write_atomically(path, gzip.compress(json.dumps(document).encode(), compresslevel=5, mtime=0))
    _bound(limit_bytes)


def _bound(limit_bytes: int) -> None:
    """Whoever does the same at the same time has removed the same files."""
    files = []
    for path in folder().glob(f"*{SUFFIX}"):
        with contextlib.suppress(OSError):
            files.append((path.stat().st_mtime_ns, path.stat().st_size, path))
    left = sum(size for _, size, _ in files)
    for _, size, path in sorted(files)[:-1]:
        if left <= limit_bytes:
            return
        path.unlink(missing_ok=True)
        left -= size
