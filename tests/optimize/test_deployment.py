"""What `optimize` keeps for `package`: few inputs, not much of them, and exactly those of its result."""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from edgeopt.field.evidence import DEPLOYMENT
from edgeopt.optimize.deployment import MOST_BYTES, MOST_SAMPLES, is_kept, some


@pytest.mark.parametrize(
    ("floats", "count", "taken"),
    [(1, 3, 3), (1, 20, MOST_SAMPLES), (MOST_BYTES // 8, 20, 2), (MOST_BYTES, 20, 1)],
)
def test_a_few_samples_are_kept_at_least_one(floats: int, count: int, taken: int) -> None:
    feeds = ({"x": np.full(floats, i, np.float32)} for i in range(count))
    assert [int(one["x"][0]) for one in some(feeds)] == list(range(taken))


def test_samples_are_copies() -> None:
    """A source may give the same memory again for the next sample."""
    reused = np.zeros(1)

    def feeds() -> Any:
        for i in range(3):
            reused[0] = i
            yield {"x": reused}

    assert [one["x"][0] for one in some(feeds())] == [0, 1, 2]


def test_golden_inputs_are_kept_if_they_are_those_that_are_spoken_of(tmp_path: Path) -> None:
    document = {DEPLOYMENT: {"golden": {"sha256": hashlib.sha256(b"inputs").hexdigest()}}}
    assert not is_kept(tmp_path, document)
    (tmp_path / "golden.npz").write_bytes(b"inputs")
    assert is_kept(tmp_path, document)
    assert not is_kept(tmp_path, {})
    (tmp_path / "golden.npz").write_bytes(b"others")
    assert not is_kept(tmp_path, document)
    assert is_kept(tmp_path, {DEPLOYMENT: {"golden": {"sha256": None}}})
