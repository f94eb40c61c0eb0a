"""All exact rewrites at once keep what random graphs compute."""

from __future__ import annotations

import tempfile
from collections import Counter
from pathlib import Path

import onnx
import pytest
from hypothesis import HealthCheck, given, settings

from edgeopt.graph import rewriting
from edgeopt.graph.model import to_bytes
from edgeopt.testing import random_graphs
from tests.graph.made import model

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


@pytest.mark.parametrize(("factor", "is_rounding"), [(1 + 1e-7, True), (1.001, False)])
def test_only_what_rounding_can_do_to_outputs_that_cancel_is_excused(
    factor: float, is_rounding: bool, tmp_path: Path
) -> None:
    text = """<ir_version: 8, opset_import: ["": 17]> g (float[1,2,6,6] x) => (float[1,2,1,1] y)
      <float w = {%.9f}> {
      a = Mul(x, w)
      n = Neg(x)
      c = Concat <axis = 2> (a, n)
      y = GlobalAveragePool(c) }"""
    original, other = (model(tmp_path / f"{f}.onnx", text % f) for f in (1.0, factor))
    found = random_graphs._is_rounding(original, to_bytes(original.ir), to_bytes(other.ir))
    assert found is is_rounding
