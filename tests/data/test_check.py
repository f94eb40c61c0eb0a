from pathlib import Path

import numpy as np
import pytest

from edgeopt.data.check import check
from tests.data.made import X4, identity, labelled, opened


def test_ten_samples_are_spread_over_the_data(tmp_path: Path) -> None:
    rows = check(labelled(tmp_path, 91), identity)
    assert [row.index for row in rows] == list(range(0, 91, 10))
    assert [row.answer for row in rows] == [row.label for row in rows]


def test_a_row_says_what_the_model_was_fed_and_answered(tmp_path: Path) -> None:
    dataset = opened(tmp_path, X4, x=np.array([[0.0, 1.0, 3.0, 0.0]]), labels=np.array([2]))
    dataset.classes = ("ant", "bee", "cat")
    (row,) = check(dataset, identity)
    (summary,) = row.inputs
    assert (summary.name, summary.dtype, summary.shape) == ("x", "float32", (1, 4))
    assert (summary.low, summary.high, summary.mean) == (0, 3, 1)
    assert (row.label, row.class_name, row.answer) == (2, "cat", 2)
    assert row.confidence == pytest.approx(np.exp(3) / (np.exp(3) + np.exp(1) + 2))
    assert row.values == (0, 1, 3, 0)


def test_probabilities_are_shown_as_they_are(tmp_path: Path) -> None:
    dataset = opened(tmp_path, X4, x=np.array([[0.1, 0.6, 0.3, 0.0]]))
    (row,) = check(dataset, identity)
    assert row.confidence == pytest.approx(0.6)
    assert row.label is None


def test_outputs_without_classes_are_shown_by_value(tmp_path: Path) -> None:
    dataset = opened(tmp_path, X4, x=np.zeros((3, 4)), labels=np.ones((3, 2)))
    rows = check(dataset, lambda _: [np.arange(6, dtype=np.float32).reshape(1, 2, 3)], n=2)
    assert [(row.index, row.answer, row.confidence) for row in rows] == [(0, None, None), (2, None, None)]
    assert rows[0].values == (0, 1, 2, 3)
    assert rows[0].label == (1, 1)
    assert check(dataset, lambda _: [np.array([7])])[0].answer == 7
