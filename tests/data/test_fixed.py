import numpy as np
import pytest

from edgeopt.core.errors import ConfigError, DataError
from edgeopt.core.tensor import TensorSpec
from edgeopt.data.fixed import fixed_feed, parse_fixed, with_state


@pytest.mark.parametrize(
    ("text", "value"),
    [("a=16000", 16000), ("a=0.5", 0.5), ("a=1,0,1", [1, 0, 1]), ("a=zeros", False), ("a=true", True),
     ("a=-1e-3", -1e-3), ("a= 1, 2.5", [1, 2.5])],
)  # fmt: skip
def test_values_are_numbers_lists_or_zeros(text: str, value: object) -> None:
    assert parse_fixed([text])["a"].tolist() == value


def test_the_project_file_says_the_same_as_a_table() -> None:
    fixed = parse_fixed({"sr": 16000, "h": "zeros", "m": [[1, 2], [3, 4]]})
    assert fixed["sr"] == 16000
    assert not fixed["h"]
    assert fixed["m"].shape == (2, 2)


@pytest.mark.parametrize("text", ["a", "=3", "a=", "a=many", "a=1,x"])
def test_anything_else_is_wrong_usage(text: str) -> None:
    with pytest.raises(ConfigError, match="--fixed"):
        parse_fixed([text])


def test_a_ragged_table_is_wrong_usage() -> None:
    with pytest.raises(ConfigError, match="neither numbers"):
        parse_fixed({"a": [[1, 2], [3]]})


def test_a_value_is_broadcast_to_the_input() -> None:
    zeros = parse_fixed(["h=zeros"])["h"]
    assert np.array_equal(
        fixed_feed(TensorSpec("h", "float32", (2, 1, 3)), zeros), np.zeros((2, 1, 3), np.float32)
    )
    assert fixed_feed(TensorSpec("m", "int64", (1, 3)), np.array([1, 0, 1])).tolist() == [[1, 0, 1]]
    assert fixed_feed(TensorSpec("s", "int64", ()), np.array(8000)).shape == ()


def test_a_value_of_another_shape_or_type_is_refused() -> None:
    with pytest.raises(DataError, match=r"shape \[2\] does not fit"):
        fixed_feed(TensorSpec("m", "int64", (1, 3)), np.array([1, 2]))
    with pytest.raises(DataError, match="takes int64"):
        fixed_feed(TensorSpec("m", "int64", (1,)), np.array([1.5]))


def test_an_open_size_is_settled_by_the_value_or_refused() -> None:
    assert fixed_feed(TensorSpec("m", "int64", (None, 3)), np.ones((2, 3), int)).shape == (2, 3)
    with pytest.raises(DataError, match="open sizes") as caught:
        fixed_feed(TensorSpec("h", "float32", (2, None, 3)), np.zeros(()))
    assert caught.value.hint == "say them: --shape h=2,1,3"


def test_state_inputs_start_at_zero_unless_said_otherwise() -> None:
    fixed = with_state({"c": np.array(1.0)}, {"h_out": "h", "c_out": "c"})
    assert not fixed["h"]
    assert fixed["c"] == 1
