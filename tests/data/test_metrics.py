from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import mannwhitneyu, spearmanr

from edgeopt.core.errors import ConfigError, DataError
from edgeopt.data import ranking
from edgeopt.data.metric import PerSample, Whole, evaluated
from edgeopt.data.metrics import BUILT_IN, resolve

CLASSES = [np.array([[0.1, 0.7, 0.2]], np.float32)]
ONE = [np.array([[0.3]], np.float32)]
INTEGERS = np.array([0, 1, 2])
HERE = Path()


def per_sample(name: str, labels: np.ndarray | None, outputs: list[np.ndarray]) -> PerSample:
    metric = resolve(name, labels=labels, outputs=outputs, base=HERE)
    assert isinstance(metric, PerSample)
    return metric


def score(metric: PerSample, outputs: list[np.ndarray], truth: Any) -> float:
    return metric.of_sample(metric.keep(outputs), truth)


@pytest.mark.parametrize(
    ("labels", "outputs", "name"),
    [
        (INTEGERS, CLASSES, "top1"),
        (np.array([True, False]), CLASSES, "top1"),
        (INTEGERS[:2, None], [np.array([[2.0, 1.0]])], "top1"),
        (INTEGERS, [np.array([3])], "top1"),  # the model tells the class itself
        (np.array([0.5, 1.5]), CLASSES, "agreement"),
        (np.array(["a", "b"]), CLASSES, "agreement"),
        (np.zeros((3, 5), int), CLASSES, "agreement"),
        (None, CLASSES, "agreement"),
        (None, ONE, "cosine"),
        (INTEGERS, ONE, "cosine"),
        (None, [np.zeros((1, 3, 8, 8))], "cosine"),
        (None, [np.zeros((1, 5), np.int64)], "cosine"),
    ],
)
def test_the_default_follows_labels_and_outputs(
    labels: np.ndarray | None, outputs: list[np.ndarray], name: str
) -> None:
    assert resolve(None, labels=labels, outputs=outputs, base=HERE).name == name


def test_top1_compares_the_arg_max_or_the_class_itself() -> None:
    metric = per_sample("top1", INTEGERS, CLASSES)
    assert (score(metric, CLASSES, 1), score(metric, CLASSES, 2)) == (1, 0)
    assert score(per_sample("top1", INTEGERS, [np.array([2])]), [np.array([2])], 2) == 1
    assert metric.basis == "labels"


def test_agreement_compares_with_the_original() -> None:
    metric = per_sample("agreement", None, CLASSES)
    assert metric.basis == "agreement"
    assert score(metric, CLASSES, metric.keep([np.array([[0.0, 9.0, 0.0]])])) == 1
    assert score(metric, CLASSES, metric.keep([np.array([[9.0, 0.0, 0.0]])])) == 0


def test_cosine_is_that_of_the_least_similar_output() -> None:
    a, b = np.array([[1.0, 0.0]]), np.array([[1.0, 1.0]])
    metric = per_sample("cosine", None, [np.zeros((1, 4, 4)), a])
    assert score(metric, [a, a], (a, a)) == pytest.approx(1)
    assert score(metric, [a, a], (a, b)) == pytest.approx(1 / np.sqrt(2))
    assert score(metric, [a, -a], (a, a)) == pytest.approx(-1)
    zero = np.zeros((1, 2))
    assert (score(metric, [zero], (zero,)), score(metric, [zero], (a,))) == (1, 0)
    assert score(metric, [np.zeros((1, 3))], (a,)) == 0  # another number of detections
    words = np.array([["x", "y"]])
    assert (score(metric, [words], (words,)), score(metric, [words], (words[:, ::-1],))) == (1, 0)


def test_cosine_of_one_number_per_sample_is_over_the_samples() -> None:
    metric = resolve("cosine", labels=None, outputs=ONE, base=HERE)
    assert isinstance(metric, Whole)
    original, other = np.array([[0.9], [0.1]]), np.array([[0.1], [0.9]])
    assert evaluated(metric, [original], [original], {}) == pytest.approx(1)
    assert evaluated(metric, [other], [original], {}) == pytest.approx(0.18 / 0.82)


def test_mse_and_mae_are_negated_and_use_labels_or_the_original() -> None:
    outputs, label = [np.array([[1.0, 3.0]])], np.array([0.0, 1.0])
    assert score(per_sample("mse", label[None], outputs), outputs, label) == -2.5
    assert score(per_sample("mae", label[None], outputs), outputs, label) == -1.5
    metric = per_sample("mse", None, outputs)
    assert metric.basis == "agreement"
    assert score(metric, outputs, metric.keep(outputs)) == 0
    assert score(metric, outputs, metric.keep([np.zeros((1, 3))])) == -np.inf


def test_macro_f1_by_hand() -> None:
    # class 0: right 1, named 2, true 1 -> 2/3; class 1: right 1, named 1, true 2 -> 2/3; class 2: 0
    assert ranking.macro_f1(np.array([0, 0, 1, 2]), np.array([0, 1, 1, 3])) == pytest.approx(
        (2 / 3 + 2 / 3) / 4
    )


@settings(max_examples=60, deadline=None)
@given(st.lists(st.tuples(st.integers(0, 5), st.booleans()), min_size=2, max_size=40))
def test_auc_is_the_mann_whitney_statistic(pairs: list[tuple[int, bool]]) -> None:
    scores, labels = np.array([s for s, _ in pairs], float), np.array([b for _, b in pairs])
    value = ranking.auc(scores, labels.astype(int))
    if len(set(labels)) < 2:
        assert np.isnan(value)
        return
    above, below = scores[labels], scores[~labels]
    assert value == pytest.approx(mannwhitneyu(above, below).statistic / (len(above) * len(below)))


def test_auc_of_several_classes_is_the_mean_of_one_against_the_rest() -> None:
    scores = np.array([[3, 0, 0], [2, 1, 0], [0, 3, 1], [0, 1, 3]], float)
    labels = np.array([0, 0, 1, 2])
    each = [ranking.auc(scores[:, c], (labels == c).astype(int)) for c in range(3)]
    assert ranking.auc(scores, labels) == pytest.approx(np.mean(each))
    assert np.isnan(ranking.auc(scores, np.zeros(4, int)))


@settings(max_examples=60, deadline=None)
@given(st.lists(st.tuples(st.integers(0, 6), st.integers(0, 6)), min_size=3, max_size=30))
def test_spearman_is_scipys(pairs: list[tuple[int, int]]) -> None:
    a, b = (np.array(column, float) for column in zip(*pairs, strict=True))
    value = ranking.spearman(a, b)
    if len(set(b)) < 2:
        assert np.isnan(value)
    elif len(set(a)) < 2:
        assert value == 0  # a candidate that collapsed has no rank, which is not an error
    else:
        assert value == pytest.approx(spearmanr(a, b).statistic)


def test_metrics_of_all_samples_see_the_labels() -> None:
    data = {"labels": np.array([[0], [1], [1]])}
    outputs = [np.array([[2.0, 1.0]]), np.array([[0.0, 1.0]]), np.array([[0.5, 1.0]])]
    for name, wanted in (("f1", 1.0), ("auc", 1.0)):
        metric = resolve(name, labels=data["labels"], outputs=outputs[:1], base=HERE)
        assert isinstance(metric, Whole)
        joined = [np.stack(column) for column in zip(*map(metric.keep, outputs), strict=True)]
        assert evaluated(metric, joined, joined, data) == wanted
    metric = resolve("spearman", labels=data["labels"], outputs=ONE, base=HERE)
    assert isinstance(metric, Whole)
    kept = [np.stack([metric.keep([np.array([[v]])])[0] for v in (0.1, 0.2, 0.2)])]
    assert evaluated(metric, kept, kept, data) == pytest.approx(1)


def test_an_unknown_name_lists_the_known_ones() -> None:
    with pytest.raises(ConfigError, match="unknown metric 'accuracy'") as caught:
        resolve("accuracy", labels=INTEGERS, outputs=CLASSES, base=HERE)
    assert all(name in (caught.value.hint or "") for name in BUILT_IN)


@pytest.mark.parametrize(
    ("name", "labels", "outputs", "says"),
    [
        ("top1", None, CLASSES, "needs labels"),
        ("f1", None, CLASSES, "needs labels"),
        ("auc", None, CLASSES, "needs labels"),
        ("spearman", None, ONE, "needs labels"),
        ("top1", INTEGERS, ONE, "needs classes"),
        ("agreement", None, ONE, "needs classes"),
        ("spearman", INTEGERS, CLASSES, "one number per sample"),
        ("top1", np.array([0.5]), CLASSES, "integer labels"),
        ("auc", np.array([0.5]), ONE, "integer labels"),
        ("top1", np.array([0, 3]), CLASSES, "labels go from 0 to 3, but output 0 has 3 classes"),
        ("auc", np.array([-1, 2]), CLASSES, "labels go from -1"),
        ("top1", np.zeros((2, 2), int), CLASSES, "one number as label"),
        ("mse", INTEGERS, CLASSES, "output 0 has 3"),
        ("mse", np.array(["a"]), ONE, "compares numbers"),
    ],
)
def test_a_metric_that_does_not_fit_the_data_says_why(
    name: str, labels: np.ndarray | None, outputs: list[np.ndarray], says: str
) -> None:
    with pytest.raises(DataError, match=says):
        resolve(name, labels=labels, outputs=outputs, base=HERE)


def of_user(folder: Path, body: str) -> Whole:
    name = f"made_up_metric_{abs(hash((folder, body)))}"
    (folder / f"{name}.py").write_text(body)
    metric = resolve(f"{name}:metric", labels=None, outputs=ONE, base=folder)
    assert isinstance(metric, Whole)
    return metric


def test_a_metric_of_the_users_gets_outputs_and_data(tmp_path: Path) -> None:
    metric = of_user(
        tmp_path, "def metric(outputs, data):\n    return (outputs[0][:, 0] == data['labels']).mean()"
    )
    assert evaluated(metric, [np.array([[1], [2]])], [], {"labels": np.array([1, 1])}) == 0.5


@pytest.mark.parametrize(
    ("body", "says"),
    [
        (
            "def metric(outputs, data):\n    raise ValueError('bad')",
            r"the metric \w+:metric raised ValueError: bad",
        ),
        ("def metric(outputs, data):\n    return float('nan')", "gave nan"),
        ("def metric(outputs, data):\n    return 'good'", "raised ValueError"),
        ("def metric(outputs, data):\n    return None", "raised TypeError"),
        ("def metric(outputs):\n    return 1", "raised TypeError"),
        ("def metric(outputs, data):\n    return data['nothing']", "raised KeyError"),
    ],
)
def test_a_metric_that_raises_or_gives_no_number_is_named(tmp_path: Path, body: str, says: str) -> None:
    with pytest.raises(DataError, match=says) as caught:
        evaluated(of_user(tmp_path, body), [np.zeros(1)], [], {})
    assert caught.value.exit_code == 3


def test_a_module_that_cannot_be_imported_is_wrong_usage() -> None:
    with pytest.raises(ConfigError, match="cannot import 'nomodule'") as caught:
        resolve("nomodule:nothing", labels=None, outputs=ONE, base=HERE)
    assert caught.value.exit_code == 2
