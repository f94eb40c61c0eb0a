from __future__ import annotations

import gzip
from pathlib import Path

import pytest

from edgeopt.bench.oracle import Oracle
from edgeopt.bench.search import shipped
from edgeopt.core.errors import ConfigError
from tests.bench import made_up


def test_what_is_written_is_read(tmp_path: Path) -> None:
    made, path = made_up.oracle(20), tmp_path / "o.jsonl.gz"
    made.save(path)
    read = Oracle.load(path)
    assert read.space == made.space
    assert read.objective == made.objective
    assert [t.candidate for t in read.trials] == [t.candidate for t in made.trials]
    assert [t.measurement for t in read.trials] == [t.measurement for t in made.trials]
    assert [t.accuracy for t in read.trials] == [t.accuracy for t in made.trials]
    assert read.digest == made.digest
    first = path.read_bytes()
    read.save(path)
    assert path.read_bytes() == first


@pytest.mark.parametrize(
    "content",
    [b"", b"text", gzip.compress(b"[]"), gzip.compress(b'{"format": 99}\n'), gzip.compress(b"{}\n")],
    ids=["empty", "text", "a list", "another format", "no format"],  # compressed bytes hold the time
)
def test_what_is_no_oracle_is_refused_by_name(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "o.jsonl.gz"
    path.write_bytes(content)
    with pytest.raises(ConfigError, match=r"o\.jsonl\.gz"):
        Oracle.load(path)


@pytest.mark.parametrize("path", shipped(), ids=lambda path: path.name)
def test_a_shipped_oracle_says_where_it_is_from(path: Path) -> None:
    oracle = Oracle.load(path)
    assert path.stat().st_size < 200_000
    assert {"model", "device", "board", "provenance", "runtimes", "recorded_by"} <= set(oracle.about)
    assert len({t.candidate for t in oracle.trials}) == len(oracle.trials)
    assert oracle.trials[0].candidate == oracle.space.default()
    assert oracle.original_score is not None
    assert all(t.measurement for t in oracle.trials if t.state == "COMPLETE")
