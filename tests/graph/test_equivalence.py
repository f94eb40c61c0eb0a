"""The equivalence check: what passes, what is caught, and how it is named."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import pytest
from hypothesis import given
from hypothesis import strategies as st

from edgeopt.core.errors import RewriteError
from edgeopt.core.tensor import TensorSpec
from edgeopt.graph.equivalence import check, check_file, compare, random_feeds, worst_error
from edgeopt.graph.model import to_bytes
from edgeopt.testing.rewrites import run
from tests.graph.made import model

TEXT = """<ir_version: 8, opset_import: ["": 17]>
g (float[4] x) => (float[4] y, int64[4] n) <float[4] w = {1, 2, 3, 4}>
{ y = Mul(x, w) n = Cast <to = 7> (y) }"""


def test_the_same_model_is_equivalent(tmp_path: Path) -> None:
    frozen = model(tmp_path / "m.onnx", TEXT)
    check(frozen, to_bytes(frozen.ir), [{"x": np.ones(4, np.float32)}], run)


def test_a_changed_weight_is_caught_and_the_output_named(tmp_path: Path) -> None:
    frozen = model(tmp_path / "m.onnx", TEXT)
    changed = model(tmp_path / "c.onnx", TEXT.replace("1, 2, 3, 4", "1, 2, 3, 4.1"))
    with pytest.raises(RewriteError, match=r"output 'y' changed: worst error 0\.0"):
        check(frozen, to_bytes(changed.ir), [], run)


def test_a_change_that_only_real_samples_show_is_caught(tmp_path: Path) -> None:
    clipped = TEXT.replace("y = Mul(x, w)", "t = Mul(x, w) y = Clip(t, low, high)").replace(
        "4}>", "4}, float low = {-90}, float high = {90}>"
    )
    frozen, changed = model(tmp_path / "m.onnx", TEXT), model(tmp_path / "c.onnx", clipped)
    check(frozen, to_bytes(changed.ir), [], run)
    with pytest.raises(RewriteError, match="changed"):
        check(frozen, to_bytes(changed.ir), [{"x": np.full(4, 100, np.float32)}], run)


def test_a_file_that_the_checker_refuses_is_caught() -> None:
    proto = onnx.parser.parse_model(TEXT)
    proto.graph.node[0].op_type = "Mull"
    with pytest.raises(RewriteError, match="Mull"):
        check_file(proto.SerializeToString())


def test_tolerance_is_relative_to_the_largest_magnitude() -> None:
    before = np.asarray([1000.0, 0.001], np.float32)
    compare(["y"], [before], [before + np.float32(0.5)], rtol=1e-3)
    with pytest.raises(RewriteError, match=r"0\.002"):
        compare(["y"], [before], [before + np.float32(2)], rtol=1e-3)


@pytest.mark.parametrize(
    ("before", "after"),
    [
        ([1.0, np.nan], [1.0, 2.0]),
        ([1.0, 2.0], [1.0, np.nan]),
        ([1.0, np.inf], [1.0, -np.inf]),
        ([1.0, 2.0], [1.0, np.inf]),
    ],
)
def test_nan_and_infinities_must_stay_in_place(before: list[float], after: list[float]) -> None:
    assert worst_error(np.asarray(before), np.asarray(after)) == np.inf
    assert worst_error(np.asarray(before), np.asarray(before)) == 0


@pytest.mark.parametrize("kind", ["int64", "bool", "uint8"])
def test_integers_and_bools_must_be_equal(kind: str) -> None:
    before = np.asarray([0, 1, 1], kind)
    compare(["n"], [before], [before.copy()], rtol=0.5)
    with pytest.raises(RewriteError, match="output 'n' changed"):
        compare(["n"], [before], [np.asarray([0, 1, 0], kind)], rtol=0.5)


def test_another_shape_type_or_count_is_caught() -> None:
    before = np.ones(3, np.float32)
    for after in (np.ones((1, 3), np.float32), np.ones(3, np.float64)):
        with pytest.raises(RewriteError, match="output 'y' was"):
            compare(["y"], [before], [after], rtol=1)
    with pytest.raises(RewriteError, match="2 outputs instead of 1"):
        compare(["y"], [before], [before, before], rtol=1)


def test_random_inputs_are_seeded_and_of_the_right_kind() -> None:
    specs = [
        TensorSpec("f", "float32", (2, 3)),
        TensorSpec("i", "int64", ()),
        TensorSpec("u", "uint8", (100,)),
        TensorSpec("b", "bool", (4,)),
        TensorSpec("h", "float16", (1,)),
    ]
    first, again = list(random_feeds(specs, 2, seed=3)), list(random_feeds(specs, 2, seed=3))
    for feeds, same in zip(first, again, strict=True):
        for spec in specs:
            assert (feeds[spec.name].dtype, feeds[spec.name].shape) == (np.dtype(spec.dtype), spec.shape)
            assert np.array_equal(feeds[spec.name], same[spec.name])
    assert not np.array_equal(first[0]["f"], first[1]["f"])
    assert first[0]["i"] in (0, 1)


@given(st.lists(st.floats(-1e6, 1e6), min_size=1, max_size=8), st.floats(0, 0.5))
def test_the_worst_error_is_what_was_added(values: list[float], error: float) -> None:
    before = np.asarray([1.0, *values])
    scale = np.abs(before).max()
    after = before.copy()
    after[0] += error * scale
    assert worst_error(before, after) == pytest.approx(error, abs=1e-9)
