"""Odd models are optimised without a change of what they compute, or refused in one line; never corrupted."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import onnx
import pytest
from numpy.typing import NDArray

from edgeopt.core.errors import EdgeoptError
from edgeopt.graph import equivalence
from edgeopt.graph.model import freeze, load
from edgeopt.runtimes.onnxruntime import Session
from edgeopt.testing.precision import Bench, random_candidates
from tests.graph import odd

IN_CI = ("opset-7-", "opset-12-", "opset-18-", "opset-23-")


def check(model: odd.Odd, folder: Path, count: int) -> Bench:
    """Random candidates of an odd model are valid, load, and compute what they should."""
    path = model.make(folder)
    bench = Bench.of(freeze(load(path), model.shapes), folder)
    original = Session(path, {})
    names = [spec.name for spec in bench.model.outputs]
    samples = list(bench.samples.samples())[:2]
    expected = [original.run(feeds) for feeds in samples]
    for candidate in (bench.space.default(), *random_candidates(bench.space, count, seed=0)):
        artifact = bench.builder.build(candidate)
        onnx.checker.check_model(str(artifact.path))
        session = Session(artifact.path, artifact.session_options)
        exact = Session(bench.builder.rewritten(candidate), {})
        for feeds, before in zip(samples, expected, strict=True):
            finite_as_before(before, session.run(feeds))
            equivalence.compare(names, before, exact.run(feeds), 1e-4)
    return bench


def finite_as_before(before: Sequence[NDArray[np.generic]], after: Sequence[NDArray[np.generic]]) -> None:
    """Mixed precision may change numbers, but not types and sizes, nor make them infinite."""
    for old, new in zip(before, after, strict=True):
        assert (old.dtype, old.shape) == (new.dtype, new.shape)
        if old.dtype.kind == "f" and np.isfinite(old).all():
            assert np.isfinite(new).all()


def check_or_refuse(model: odd.Odd, folder: Path, count: int) -> None:
    if model.refused is None:
        check(model, folder, count)
        return
    with pytest.raises(EdgeoptError, match=model.refused) as caught:
        check(model, folder, count)
    assert len(caught.value.message.splitlines()) == 1


SAMPLE = [model for model in odd.ALL if not model.name.startswith("opset") or model.name.startswith(IN_CI)]


@pytest.mark.parametrize("model", SAMPLE, ids=lambda model: model.name)
def test_an_odd_model_is_optimised_or_refused(model: odd.Odd, tmp_path: Path) -> None:
    check_or_refuse(model, tmp_path, 3)


@pytest.mark.long
@pytest.mark.parametrize("model", odd.ALL, ids=lambda model: model.name)
def test_many_candidates_of_an_odd_model(model: odd.Odd, tmp_path: Path) -> None:
    check_or_refuse(model, tmp_path, 8)
