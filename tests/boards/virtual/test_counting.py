"""Reading what the counting plugin wrote."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from edgeopt.boards.virtual import counting
from edgeopt.boards.virtual.counting import CacheTraffic, Counts, Segment
from edgeopt.core.errors import BoardError

numbers = st.integers(0, 2**63)
traffic = st.builds(CacheTraffic, numbers, numbers, numbers)
words = st.lists(st.integers(0, 2**32 - 1), min_size=1, max_size=5).map(tuple)


@st.composite
def counts(draw: st.DrawFn) -> Counts:
    blocks = {f"{name:016x}": draw(words) for name in draw(st.sets(st.integers(0, 2**64 - 1), max_size=6))}
    levels = draw(st.integers(0, 3))
    segment = st.builds(
        Segment,
        st.dictionaries(st.sampled_from(sorted(blocks)), st.integers(1, 2**63)) if blocks else st.just({}),
        numbers,
        st.tuples(*[traffic] * levels),
    )
    segments = draw(st.lists(segment, min_size=1, max_size=4))
    ran = set().union(*(part.ran for part in segments))
    return Counts({name: blocks[name] for name in ran}, tuple(segments))


def text(counted: Counts) -> str:
    """As the plugin writes it: a block's words where it first ran, its number from then on."""
    ids = {name: number for number, name in enumerate(counted.blocks)}
    lines: list[str] = []
    told: set[str] = set()
    for part in counted.segments:
        for name, times in part.ran.items():
            if name not in told:
                lines.append(
                    f"block {ids[name]} {name} " + " ".join(f"{w:08x}" for w in counted.blocks[name])
                )
                told.add(name)
            lines.append(f"ran {ids[name]} {times}")
        levels = [f" {c.misses} {c.streamed} {c.written_back}" for c in part.caches]
        lines.append(f"segment {part.accesses}" + "".join(levels))
    return "\n".join([*lines, "end"]) + "\n"


@settings(max_examples=30, deadline=None)
@given(counts())
def test_what_is_written_is_read(tmp_path_factory: pytest.TempPathFactory, counted: Counts) -> None:
    path = tmp_path_factory.getbasetemp() / "counts"
    path.write_text(text(counted))
    assert counting.read(path) == counted


@settings(max_examples=30, deadline=None)
@given(counts(), st.floats(0, 1, exclude_max=True))
def test_a_torn_file_is_refused(
    tmp_path_factory: pytest.TempPathFactory, counted: Counts, share: float
) -> None:
    path = tmp_path_factory.getbasetemp() / "torn"
    whole = text(counted).rstrip("\n")
    path.write_text(whole[: int(share * len(whole))])
    with pytest.raises(BoardError, match="is not whole: the emulator was stopped"):
        counting.read(path)


@settings(max_examples=30, deadline=None)
@given(counts())
def test_the_whole_is_the_sum_of_its_segments(counted: Counts) -> None:
    assert counted.instructions == sum(map(counted.instructions_of, counted.segments))
    assert counted.total.accesses == sum(part.accesses for part in counted.segments)
    for level, found in enumerate(counted.total.caches):
        assert found.misses == sum(part.caches[level].misses for part in counted.segments)


def test_a_file_that_is_not_there_is_named(tmp_path: Path) -> None:
    with pytest.raises(BoardError, match=r"cannot read .*/c.1: No such file"):
        counting.read(tmp_path / "c.1")
