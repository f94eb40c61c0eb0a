"""Odd models: each becomes a LiteRT file that computes what it did, or a reason in one line."""

from __future__ import annotations

from pathlib import Path

import pytest

from edgeopt.core.artifact import Artifact
from edgeopt.core.candidate import RUNTIME
from edgeopt.core.errors import CandidateFailed, ModelError
from edgeopt.graph import equivalence
from edgeopt.graph.litert.worker import Worker
from edgeopt.graph.model import freeze, load
from edgeopt.graph.space import search_space
from edgeopt.runtimes.litert import Session
from edgeopt.runtimes.onnxruntime import Session as OnnxSession
from tests.graph import odd
from tests.graph.litert.test_builder import BOTH, builder_of
from tests.graph.litert.test_export import Calibration

KINDS = ("control-", "sequence-", "function-", "symbolic-", "names-", "zero-size-", "other-")
ODD = [model for model in odd.ALL if model.refused is None and model.name.startswith(KINDS)]
CI = {
    "control-if-captures", "control-loop-with-scan-output", "control-loop-of-no-turns", "control-scan",
    "sequence-split-and-concat", "sequence-length", "function-with-a-branch", "symbolic-size-of-data",
    "symbolic-rows-that-are-selected", "names-with-strange-letters", "zero-size-output", "zero-size-batch",
    "other-constant-output", "other-double", "other-half", "other-strings", "other-no-inputs",
    "other-random", "other-empty-optional-inputs",
}  # fmt: skip
MARKED = [pytest.param(m, id=m.name, marks=() if m.name in CI else pytest.mark.long) for m in ODD]
INVENTED = """<ir_version: 8, opset_import: ["": 17, "com.microsoft": 1]>
g (float[2, 4] x) => (float[2, 4] y) <float[4, 4] w> { m = MatMul(x, w) y = com.microsoft.Gelu(m) }"""
FUTURE = """<ir_version: 13, opset_import: ["": 24]>
g (float[2, 4] x) => (float[2, 4] y) <float[4, 4] w> { m = MatMul(x, w) y = Swish(m) }"""
WIDE = f"""{odd.HEAD} g (int64[4] x) => (int64[4] y) <int64[4] k = {{1, 4000000000, 3, 4}}> {{
    m = Mul(x, k) y = BitShift <direction = "LEFT"> (m, m) }}"""


def attempt(path: Path, worker: Worker, folder: Path, **shapes: tuple[int, ...]) -> Artifact | str:
    """The LiteRT file of a model, or why there is none; it must compute what the model does."""
    model = freeze(load(path), shapes)
    space = search_space(model, lossy=False, cores=2, runtimes=BOTH)
    builder = builder_of(model, space, worker, folder)
    try:
        artifact = builder.build(space.candidate({RUNTIME: "litert"}))
        session = Session(artifact.path)
        for feeds in list(Calibration(model, 2).samples()):
            outputs = session.run(feeds)
            names = [spec.name for spec in model.outputs]
            equivalence.compare(names, OnnxSession(model.path).run(feeds), outputs, 1e-3)
    except (CandidateFailed, ModelError) as failure:
        return failure.message
    finally:
        assert builder.build(space.default()).runtime == "onnxruntime"  # the other runtime goes on
    return artifact


@pytest.mark.parametrize("model", MARKED)
def test_an_odd_model_is_converted_or_refused_in_one_line(
    model: odd.Odd, worker: Worker, tmp_path: Path
) -> None:
    answer = attempt(model.make(tmp_path), worker, tmp_path / "out", **model.shapes)
    if isinstance(answer, str):
        assert 10 < len(answer) < 400
        assert len(answer.splitlines()) == 1


@pytest.mark.parametrize("text", [INVENTED, FUTURE, WIDE], ids=["custom domain", "new opset", "int64"])
def test_operators_that_nothing_converts_have_a_reason(text: str, worker: Worker, tmp_path: Path) -> None:
    model = odd.text("x", text).make(tmp_path)
    answer = attempt(model, worker, tmp_path / "out")
    assert isinstance(answer, Artifact) or len(answer.splitlines()) == 1
