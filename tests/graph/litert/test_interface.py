"""Names, layouts and types of a LiteRT file are related to the model's explicitly."""

from __future__ import annotations

import json

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from edgeopt.core.errors import CandidateFailed
from edgeopt.core.tensor import TensorSpec
from edgeopt.graph.litert.interface import Interface, channels_last, shows_layout

IMAGE = TensorSpec("img", "float32", (1, 3, 8, 6))
TOKENS = TensorSpec("tokens", "int64", (1, 5))
Y, Z = TensorSpec("y", "float32", (1, 4)), TensorSpec("z", "int64", (1, 2, 3, 4))


def found(file_in: list[TensorSpec], file_out: list[TensorSpec]) -> Interface:
    return Interface.between(([IMAGE, TOKENS], [Y, Z]), (file_in, file_out))


def test_a_file_like_the_model_changes_nothing() -> None:
    same = found([TOKENS, IMAGE], [Z, Y])
    assert same.changes == ()
    assert [port.position for port in same.outputs] == [1, 0]
    image = np.ones((1, 3, 8, 6), np.float32)
    assert same.feeds({"img": image, "tokens": np.zeros((1, 5), np.int64)})["img"].shape == (1, 3, 8, 6)


def test_channels_last_inputs_and_narrowed_outputs_are_told_and_undone() -> None:
    moved = TensorSpec("img", "float32", (1, 8, 6, 3))
    narrow = TensorSpec("z", "int32", (1, 3, 4, 2))
    changed = found([moved, TOKENS], [Y, narrow])
    assert changed.changes == (
        "input img is channels last (axes 0, 2, 3, 1)",
        "output z is channels last (axes 0, 2, 3, 1)",
        "output z is int32, was int64",
    )
    image = np.arange(144, dtype=np.float32).reshape(1, 3, 8, 6)
    feeds = changed.feeds({"img": image, "tokens": np.zeros((1, 5), np.int64)})
    np.testing.assert_array_equal(feeds["img"], image.transpose(0, 2, 3, 1))
    assert feeds["img"].flags.c_contiguous
    z = np.arange(24).reshape(1, 2, 3, 4)
    answers = changed.answers([np.zeros((1, 4), np.float32), z.transpose(0, 2, 3, 1).astype(np.int32)])
    np.testing.assert_array_equal(answers[1], z)
    assert answers[1].dtype == np.int64
    assert Interface.of_document(json.loads(json.dumps(changed.document()))) == changed


def test_a_scalar_becomes_a_tensor_of_one_element() -> None:
    scalar, single = TensorSpec("s", "int64", ()), TensorSpec("s", "int64", (1,))
    found = Interface.between(([scalar], [scalar]), ([single], [single]))
    assert found.changes == (
        "input s is a tensor of one element, was a scalar",
        "output s is a tensor of one element, was a scalar",
    )
    assert found.feeds({"s": np.array(16000)})["s"].shape == (1,)
    assert found.answers([np.array([7])])[0].shape == ()


@pytest.mark.parametrize(
    ("file_in", "file_out", "message"),
    [
        ([IMAGE], [Y, Z], "the LiteRT file has no input 'tokens'"),
        ([IMAGE, TOKENS], [Y], "the LiteRT file has no output 'z'"),
        ([TensorSpec("img", "float32", (1, 3, 6, 8)), TOKENS], [Y, Z], r"input img .* became img float32"),
        ([IMAGE, TensorSpec("tokens", "int64", (5, 1))], [Y, Z], r"input tokens .* became tokens int64"),
    ],
)
def test_what_no_layout_explains_is_refused(
    file_in: list[TensorSpec], file_out: list[TensorSpec], message: str
) -> None:
    with pytest.raises(CandidateFailed, match=message):
        found(file_in, file_out)


@given(st.lists(st.integers(1, 4), min_size=0, max_size=5))
def test_a_layout_shows_where_moving_the_channels_changes_the_shape(shape: list[int]) -> None:
    spec = TensorSpec("x", "float32", tuple(shape))
    moved = np.zeros(shape).transpose(channels_last(len(shape))).shape if len(shape) > 1 else tuple(shape)
    assert shows_layout(spec) == (len(shape) > 2 and moved != tuple(shape))
