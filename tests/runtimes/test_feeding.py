from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from edgeopt.core.errors import DataError
from edgeopt.core.interface import InputChange, Levels, from_json, to_json
from edgeopt.core.tensor import TensorSpec
from edgeopt.runtimes.feeding import bytes_of, fed, values_of

NUMBERS = st.floats(1e-4, 10) | st.floats(-10, -1e-4)
PIXELS = np.arange(256, dtype=np.uint8).reshape(1, 2, 8, 16)


@given(scale=NUMBERS, zero=st.floats(-300, 300), dtype=st.sampled_from(["float32", "float64"]))
def test_every_byte_is_found_again_from_its_value(scale: float, zero: float, dtype: str) -> None:
    levels = Levels((scale,), (-zero * scale,))
    assert np.array_equal(bytes_of(levels, values_of(levels, PIXELS, dtype), "x"), PIXELS)


def test_bytes_are_found_through_the_rounding_of_half_precision() -> None:
    levels = Levels((0.0171, 0.0175), (-2.118, -2.036), 1)
    assert np.array_equal(bytes_of(levels, values_of(levels, PIXELS, "float16"), "x"), PIXELS)


@pytest.mark.parametrize("wrong", [-1.0, 256.0, 0.3, float("nan")])
def test_a_value_that_no_byte_stands_for_is_refused(wrong: float) -> None:
    values = values_of(Levels(), PIXELS, "float32")
    values[0, 1, 2, 3] = wrong
    with pytest.raises(DataError, match=r"input 'x'.*256"):
        bytes_of(Levels(), values, "x")


def test_only_what_changed_is_converted() -> None:
    before = TensorSpec("x", "float32", (1, 2, 8, 16))
    change = InputChange(
        before, TensorSpec("x", "uint8", (1, 8, 16, 2)), ("a", "b"), Levels((0.5,)), (0, 2, 3, 1)
    )
    other = np.zeros(3)
    feeds = {"x": values_of(Levels((0.5,)), PIXELS, "float32"), "h": other}
    assert fed((), feeds) is feeds
    found = fed((change,), feeds)
    assert found["h"] is other
    assert np.array_equal(found["x"], PIXELS.transpose(0, 2, 3, 1))
    assert from_json(to_json((change,))) == (change,)


def test_a_change_says_how_to_feed_it() -> None:
    before = TensorSpec("x", "float32", (1, 3, 8, 8))
    levels = Levels((0.5, 0.5, 0.5), (-1.0, -1.5, -1.0), 1)
    change = InputChange(
        before, TensorSpec("x", "uint8", (1, 8, 8, 3)), ("uint8-input", "nhwc"), levels, (0, 2, 3, 1)
    )
    assert "0.5 * byte + [-1, -1.5, -1] per channel" in change.how
    assert "[0, 2, 3, 1]" in change.how
    assert change.document()["from"] == {"dtype": "float32", "shape": [1, 3, 8, 8]}
