from pathlib import Path
from typing import Any

import numpy as np
import pytest

from edgeopt.core.errors import ConfigError, DataError
from edgeopt.core.tensor import TensorSpec
from edgeopt.data.dataset import Feeds
from edgeopt.data.fixed import parse_fixed, with_state
from edgeopt.data.source import open_data
from edgeopt.data.split import Part
from edgeopt.data.streams import check_state, stream
from tests.data.made import npz

STATE = {"h_out": "h"}
INPUTS = [TensorSpec("x", "float32", (1, 1)), TensorSpec("h", "float32", (2, 1, 1))]


def accumulate(feeds: Feeds) -> list[Any]:
    """A recurrent model: y is the sum of what came so far."""
    total = feeds["h"] + feeds["x"].sum()
    return [total[:1, :, 0], total]


def sums(tmp_path: Path, fixed: list[str] | None = None, **arrays: Any) -> list[float]:
    source = npz(tmp_path, x=np.array([[1], [2], [4], [8], [16]]), **arrays)
    values = with_state(parse_fixed(fixed or []), STATE)
    dataset = open_data(source, INPUTS, fixed=values, base=tmp_path)
    part = Part(dataset, np.arange(5))
    return [float(o[0][0, 0]) for _, o in stream(part, accumulate, state=STATE, output_names=["y", "h_out"])]


def test_state_is_carried_within_a_group_and_starts_at_zero(tmp_path: Path) -> None:
    assert sums(tmp_path, groups=np.array(["a", "a", "a", "b", "b"])) == [1, 3, 7, 8, 24]


def test_groups_may_take_turns(tmp_path: Path) -> None:
    assert sums(tmp_path, groups=np.array([0, 1, 0, 1, 0])) == [1, 2, 5, 10, 21]


def test_without_groups_each_sample_starts_anew(tmp_path: Path) -> None:
    assert sums(tmp_path) == [1, 2, 4, 8, 16]


def test_a_stream_starts_from_what_the_user_says(tmp_path: Path) -> None:
    assert sums(tmp_path, ["h=100"], groups=np.zeros(5, int)) == [101, 103, 107, 115, 131]


def test_what_was_fed_is_shown_for_calibration(tmp_path: Path) -> None:
    source = npz(tmp_path, x=np.array([[1], [2]]), groups=np.zeros(2, int))
    part = Part(open_data(source, INPUTS, fixed=with_state({}, STATE), base=tmp_path), np.arange(2))
    fed = [
        f["h"].ravel().tolist() for f, _ in stream(part, accumulate, state=STATE, output_names=["y", "h_out"])
    ]
    assert fed == [[0, 0], [1, 1]]


def test_state_that_names_nothing_or_does_not_fit_is_refused(tmp_path: Path) -> None:
    source = npz(tmp_path, x=np.array([[1], [2]]), groups=np.zeros(2, int))
    part = Part(open_data(source, INPUTS, fixed=with_state({}, STATE), base=tmp_path), np.arange(2))
    with pytest.raises(ConfigError, match="no output 'hidden'"):
        list(stream(part, accumulate, state={"hidden": "h"}, output_names=["y", "h_out"]))
    with pytest.raises(ConfigError, match="no input 'hidden'"):
        list(stream(part, accumulate, state={"h_out": "hidden"}, output_names=["y", "h_out"]))
    with pytest.raises(DataError, match="output 'y'"):
        list(stream(part, accumulate, state={"y": "h"}, output_names=["y", "h_out"]))


@pytest.mark.parametrize(
    ("state", "why"),
    [
        ({"nosuch": "h"}, "no output 'nosuch'"),
        ({"h_out": "nosuch"}, "no input 'nosuch'"),
        ({"y": "h", "h_out": "h"}, "'h' is fed by more than one"),
    ],
)
def test_a_state_is_checked_against_the_model_before_any_data(state: dict[str, str], why: str) -> None:
    check_state(STATE, ["x", "h"], ["y", "h_out"])
    with pytest.raises(ConfigError, match=why):
        check_state(state, ["x", "h"], ["y", "h_out"])
