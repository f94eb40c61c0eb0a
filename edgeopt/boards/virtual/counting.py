"""What an emulated core executed between two markers: the counting plugin's output, read."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from edgeopt.core.errors import BoardError


@dataclass(frozen=True, slots=True)
class CacheTraffic:
    """Of one simulated cache level, in lines.

    Attributes:
        misses: Lines that had to come from the next level.
        streamed: Those of them that follow an earlier miss, as a prefetcher would see coming.
        written_back: Changed lines that went to the next level.
    """

    misses: int
    streamed: int
    written_back: int

    def __add__(self, other: CacheTraffic) -> CacheTraffic:
        return CacheTraffic(
            self.misses + other.misses,
            self.streamed + other.streamed,
            self.written_back + other.written_back,
        )


@dataclass(frozen=True, slots=True)
class Segment:
    """What was executed between two looks at the clock.

    Attributes:
        ran: How often each block ran, by its hash.
        accesses: Loads and stores as QEMU makes them: one of more than 64 bits (a pair of registers, a
            vector) counts as often as QEMU splits it.
        caches: From the first level outwards.
    """

    ran: Mapping[str, int]
    accesses: int
    caches: tuple[CacheTraffic, ...]

    def __add__(self, other: Segment) -> Segment:
        return Segment(
            Counter(self.ran) + Counter(other.ran),
            self.accesses + other.accesses,
            tuple(a + b for a, b in zip(self.caches, other.caches, strict=True)),
        )


@dataclass(frozen=True, slots=True)
class Counts:
    """All that was counted between one pair of markers.

    Attributes:
        blocks: Instruction words of each translated block, by the block's hash.
        segments: In order; a program that never looks at the clock has one.
    """

    blocks: Mapping[str, tuple[int, ...]]
    segments: tuple[Segment, ...]
    total: Segment = field(init=False)

    def __post_init__(self) -> None:
        ran: Counter[str] = Counter()
        for segment in self.segments:
            ran.update(segment.ran)
        first, *rest = self.segments
        caches = tuple(
            sum(levels[1:], levels[0]) for levels in zip(*(s.caches for s in self.segments), strict=True)
        )
        object.__setattr__(
            self, "total", Segment(ran, first.accesses + sum(s.accesses for s in rest), caches)
        )

    @property
    def instructions(self) -> int:
        return self.instructions_of(self.total)

    def instructions_of(self, segment: Segment) -> int:
        """Executed in one of the segments."""
        return sum(len(self.blocks[block]) * times for block, times in segment.ran.items())


def read(path: Path) -> Counts:
    """Read one file that the counting plugin wrote.

    Raises:
        BoardError: It is not there, or not whole.
    """
    try:
        counts = _parsed(path.read_text(encoding="ascii").splitlines())
    except OSError as error:
        raise BoardError(f"cannot read {path}: {error.strerror or error}") from error
    except (ValueError, KeyError, IndexError, TypeError):  # the last line is cut anywhere
        counts = None
    if counts is None:
        raise BoardError(f"{path} is not whole: the emulator was stopped while it counted")
    return counts


def _parsed(lines: Iterable[str]) -> Counts | None:
    names: dict[str, str] = {}
    blocks: dict[str, tuple[int, ...]] = {}
    segments: list[Segment] = []
    ran: dict[str, int] = {}
    ended = False
    for line in lines:
        kind, *words = line.split()
        if kind == "block":
            names[words[0]] = words[1]
            blocks[words[1]] = tuple(int(word, 16) for word in words[2:])
        elif kind == "ran":
            ran[names[words[0]]] = int(words[1])
        elif kind == "segment":
            figures = [int(word) for word in words]
            caches = tuple(CacheTraffic(*figures[at : at + 3]) for at in range(1, len(figures), 3))
            segments.append(Segment(ran, figures[0], caches))
            ran = {}
        ended = kind == "end"
    return Counts(blocks, tuple(segments)) if ended and segments else None
