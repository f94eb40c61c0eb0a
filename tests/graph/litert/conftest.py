"""The conversion tools at work."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from edgeopt.graph.litert.environment import Environment
from edgeopt.graph.litert.worker import Worker


@pytest.fixture(scope="module")
def worker(tools: Environment) -> Iterator[Worker]:
    """One process of theirs for all tests of a file."""
    with Worker(tools) as worker:
        yield worker
