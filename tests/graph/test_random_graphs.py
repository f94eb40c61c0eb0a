"""All exact rewrites at once keep what random graphs compute."""

from __future__ import annotations

import tempfile
from collections import Counter
from pathlib import Path

import onnx
import pytest
from hypothesis import HealthCheck, given, settings

from edgeopt.graph import rewriting
from edgeopt.testing import random_graphs

FIRED: Counter[str] = Counter()

OPTIONS = {
    "derandomize": True,
    "deadline": None,
    "database": None,
    "suppress_health_check": list(HealthCheck),
}


def check(proto: onnx.ModelProto) -> None:
    with tempfile.TemporaryDirectory() as folder:
        FIRED.update(random_graphs.check(proto, Path(folder)))


@settings(max_examples=100, **OPTIONS)  # type: ignore[arg-type]
@given(proto=random_graphs.models())
def test_random_graphs_keep_their_outputs(proto: onnx.ModelProto) -> None:
    check(proto)


@pytest.mark.long
@pytest.mark.timeout(3600)
def test_two_thousand_random_graphs_keep_their_outputs() -> None:
    FIRED.clear()

    @settings(max_examples=2_000, **OPTIONS)  # type: ignore[arg-type]
    @given(proto=random_graphs.models(max_steps=12))
    def run(proto: onnx.ModelProto) -> None:
        check(proto)

    run()
    print(f"applications: {dict(FIRED.most_common())}")
    silent = {name for name in rewriting.in_order() if rewriting.is_exact(name)} - FIRED.keys()
    print(f"never applied: {sorted(silent)}")
    assert len(FIRED) >= 15
