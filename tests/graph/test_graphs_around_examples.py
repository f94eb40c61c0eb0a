"""Exact rewrites apply amid random graphs too, beside all others, and these keep their outputs."""

from __future__ import annotations

import tempfile
from collections import Counter
from pathlib import Path

import onnx
import pytest
from hypothesis import HealthCheck, given, settings

from edgeopt.testing import graphs_around_examples, random_graphs

OPTIONS = {
    "derandomize": True,
    "deadline": None,
    "database": None,
    "suppress_health_check": list(HealthCheck),
}


def applied(proto: onnx.ModelProto) -> Counter[str]:
    with tempfile.TemporaryDirectory() as folder:
        return random_graphs.check(proto, Path(folder))


@settings(max_examples=60, **OPTIONS)  # type: ignore[arg-type]
@given(proto=graphs_around_examples.models())
def test_graphs_around_examples_keep_their_outputs(proto: onnx.ModelProto) -> None:
    applied(proto)


def fired_around(name: str) -> Counter[str]:
    """How often each rewrite applied in graphs around the examples of one."""
    fired: Counter[str] = Counter()

    @settings(max_examples=15, **OPTIONS)  # type: ignore[arg-type]
    @given(proto=graphs_around_examples.models(name))
    def run(proto: onnx.ModelProto) -> None:
        fired.update(applied(proto))

    run()
    return fired


@pytest.mark.long
@pytest.mark.timeout(3600)
def test_every_exact_rewrite_is_tried_beside_all_others() -> None:
    names = graphs_around_examples.examples()
    assert [name for name in names if not fired_around(name)[name]] == []
