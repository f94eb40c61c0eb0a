import numpy as np
import pytest

from edgeopt.core.errors import DataError
from edgeopt.core.tensor import TensorSpec
from edgeopt.data.fit import fit


@pytest.mark.parametrize(
    ("have", "want"),
    [("uint8", "float32"), ("int8", "float32"), ("float16", "float32"), ("int16", "float32"),
     ("float64", "float32"), ("uint8", "int64"), ("int64", "int32"), ("int64", "uint8"), ("bool", "float32"),
     (">f4", "float32"), ("bool", "bool")],
)  # fmt: skip
def test_a_compact_type_is_cast_when_the_input_can_hold_its_values(have: str, want: str) -> None:
    fitted = fit(TensorSpec("x", want, (3,)), np.array([0, 1, 1], dtype=have), "sample 0")
    assert fitted.dtype == np.dtype(want)
    assert fitted.tolist() == [0, 1, 1]


@pytest.mark.parametrize(
    ("value", "want"),
    [(np.array([1.5]), "int64"), (np.array([300]), "uint8"), (np.array([-1]), "uint8"),
     (np.array([2**40]), "int32"), (np.array([1e30]), "float16"), (np.array([2**24 + 1]), "float32"),
     (np.array([70000]), "float16"), (np.array([1]), "bool"), (np.array(["a"]), "float32"),
     (np.array([1j]), "float32"), (np.array([None]), "float32")],
)  # fmt: skip
def test_values_that_the_input_cannot_hold_are_refused(value: np.ndarray, want: str) -> None:
    with pytest.raises(DataError, match=want):
        fit(TensorSpec("x", want, (1,)), value, "sample 0")


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
def test_what_is_not_finite_is_refused_and_its_sample_named(bad: float) -> None:
    with pytest.raises(DataError, match=r"sample 7.*NaN or infinity"):
        fit(TensorSpec("x", "float32", (2,)), np.array([0, bad]), "sample 7")


def test_large_integers_that_a_float_does_hold_pass() -> None:
    assert fit(TensorSpec("x", "float32", (1,)), np.array([2**30]), "sample 0")[0] == 2**30


def test_another_shape_is_refused_and_an_open_size_takes_any() -> None:
    spec = TensorSpec("x", "float32", (1, None))
    assert fit(spec, np.zeros((1, 9)), "sample 0").shape == (1, 9)
    with pytest.raises(DataError, match=r"sample 0 has shape \[2, 9\], the model takes x float32\[1,\?\]"):
        fit(spec, np.zeros((2, 9)), "sample 0")


def test_inputs_that_are_not_numbers_are_refused() -> None:
    for dtype in ("bfloat16!", "str", "complex64"):
        with pytest.raises(DataError, match="cannot be read"):
            fit(TensorSpec("x", dtype, (1,)), np.zeros(1), "sample 0")
