from pathlib import Path
from typing import Any

import numpy as np
import pytest

from edgeopt.core.errors import CandidateFailed, ConfigError, DataError
from edgeopt.core.objective import MaxDrop, Objective
from edgeopt.core.tensor import TensorSpec
from edgeopt.data.accuracy import AccuracyGate
from edgeopt.data.bounds import tango_upper
from edgeopt.data.dataset import Dataset
from edgeopt.data.fixed import with_state
from edgeopt.data.metric import Metric
from edgeopt.data.metrics import resolve
from edgeopt.data.source import open_data
from edgeopt.data.split import Part, Parts, split
from tests.data.made import Watched, identity, labelled, npz, opened, wrong_where

ONE_PERCENT = MaxDrop(0.01, relative=True)


def gate(
    dataset: Dataset,
    name: str | None = "top1",
    *,
    run: Any = identity,
    parts: Parts | None = None,
    **more: Any,
) -> AccuracyGate:
    metric: Metric = resolve(name, labels=dataset.labels, outputs=run(next(dataset.samples())), base=Path())
    given = {"max_drop": ONE_PERCENT, **more}
    return AccuracyGate(parts or split(dataset, None, None, 0), metric, run, **given)


def wrong_in(marks: set[float]) -> Any:
    return wrong_where(lambda x: float(x[0, 0]) in marks)


def first_of(part: Part, count: int) -> set[float]:
    """A mark of some samples: their first element."""
    return {float(f["x"][0, 0]) for f, _ in zip(part.samples(), range(count), strict=False)}


def test_score_and_drop_are_those_of_the_same_samples(tmp_path: Path) -> None:
    dataset = labelled(tmp_path, 200)
    parts = split(dataset, None, None, 0)
    worse = wrong_in(first_of(parts.search, 7))
    also = wrong_in(first_of(parts.search, 2))
    checked = gate(dataset, run=also, parts=parts)
    assert checked.original("search").score == pytest.approx(98 / 100)
    accuracy = checked.score(worse, "search", full=True)
    assert (accuracy.score, accuracy.drop, accuracy.n) == (pytest.approx(0.93), pytest.approx(0.05), 100)
    assert (accuracy.bound, accuracy.basis, accuracy.part) == (None, "labels", "search")


def test_the_original_runs_once_per_part(tmp_path: Path) -> None:
    dataset = labelled(tmp_path, 40)
    runs = []
    checked = gate(dataset, run=lambda feeds: runs.append(1) or identity(feeds))
    runs.clear()
    for _ in range(3):
        checked.score(identity)
    assert len(runs) == 20
    checked.bound(identity, 3)
    checked.bound(identity, 3)
    assert len(runs) == 20 + 12


def test_the_search_never_reads_a_sample_to_confirm(tmp_path: Path) -> None:
    watched = Watched(labelled(tmp_path, 100))
    parts = split(watched, None, None, 0)  # type: ignore[arg-type]  # passes everything on
    checked = gate(watched, parts=parts)  # type: ignore[arg-type]
    watched.read.clear()
    checked.original("search")
    checked.score(identity)
    assert set(watched.read) == set(parts.search.indices)
    watched.read.clear()
    checked.bound(identity, 1)
    assert set(watched.read) == set(parts.confirm.indices)


def test_a_lossy_candidate_that_passes_the_search_by_luck_is_caught_on_confirm(tmp_path: Path) -> None:
    dataset = labelled(tmp_path, 4000)
    parts = split(dataset, None, None, 0)
    lucky = {float(feeds["x"][0, 0]) for feeds in parts.search.samples()}
    # Wrong in 3 of 100 samples, none of which happens to be among those that are searched.
    planted = wrong_where(lambda x: float(x[0, 0]) not in lucky and x.sum() * 1e3 % 100 < 3)
    checked = gate(dataset, parts=parts)
    searched = checked.score(planted)
    assert (searched.drop, searched.n) == (0, len(parts.search))
    assert Objective().accuracy_violation(searched, checked.original("search").score) is None
    confirmed = checked.bound(planted, finalists=3)
    assert confirmed.drop is not None
    assert confirmed.drop > 0.01
    assert checked.verdict(confirmed) == "not established"
    assert "not established (n = 1200" in checked.explain(confirmed)
    assert checked.verdict(checked.bound(identity, finalists=3)) == "established"


def test_the_bound_is_tangos_and_corrected_for_the_finalists(tmp_path: Path) -> None:
    dataset = labelled(tmp_path, 400)
    parts = split(dataset, None, None, 0)
    worse = wrong_in(first_of(parts.confirm, 5))
    checked = gate(dataset, parts=parts)
    for finalists in (1, 3):
        accuracy = checked.bound(worse, finalists)
        assert accuracy.bound == pytest.approx(tango_upper(5, 0, 120, 0.05 / finalists))
        assert (accuracy.n, accuracy.part) == (120, "confirm")


def test_the_verdict_says_how_many_samples_it_would_take(tmp_path: Path) -> None:
    checked = gate(labelled(tmp_path, 100))
    accuracy = checked.bound(identity, 1)
    assert checked.verdict(accuracy) == "not established"
    needed = checked.needed_n(accuracy)
    assert needed is not None
    assert tango_upper(0, 0, needed, 0.05) <= 0.01 < tango_upper(0, 0, needed - 1, 0.05)
    assert checked.explain(accuracy) == f"not established (n = 30, needs about {needed})"
    assert checked.verdict(accuracy, MaxDrop(0.2, relative=False)) == "established"
    assert checked.explain(accuracy, MaxDrop(0.2, relative=False)) == "established (n = 30)"
    hopeless = checked.bound(lambda feeds: [-feeds["x"]], 1)
    assert checked.explain(hopeless) == "not established (n = 30, no number of samples would do)"


def test_a_hopeless_candidate_is_given_up_early_and_says_how_far_it_came(tmp_path: Path) -> None:
    checked = gate(labelled(tmp_path, 1000))
    runs = []

    def bad(feeds: Any) -> list[Any]:
        runs.append(1)
        return [-feeds["x"]]

    accuracy = checked.score(bad)
    assert accuracy.n == len(runs) == 6  # of 500 samples 5 may be lost
    assert accuracy.drop == 1
    assert Objective().accuracy_violation(accuracy, 1.0) is not None
    assert checked.score(bad, full=True).n == 500


def test_a_candidate_that_can_still_catch_up_is_not_given_up(tmp_path: Path) -> None:
    dataset = labelled(tmp_path, 400)
    parts = split(dataset, None, None, 0)
    order = [float(feeds["x"][0, 0]) for feeds in parts.search.samples()]
    early, late = set(order[:50]), set(order[-50:])
    original = wrong_in(late)
    candidate = wrong_in(early)
    accuracy = gate(dataset, run=original, parts=parts).score(candidate)
    assert (accuracy.n, accuracy.drop) == (200, pytest.approx(0))


def test_agreement_needs_no_labels_and_the_original_agrees_with_itself(tmp_path: Path) -> None:
    dataset = opened(tmp_path, x=np.random.default_rng(0).normal(size=(200, 4)))
    parts = split(dataset, None, None, 0)
    checked = gate(dataset, None, parts=parts)
    assert checked.original("search").score == 1.0
    worse = wrong_in(first_of(parts.search, 3))
    accuracy = checked.score(worse, full=True)
    assert (accuracy.score, accuracy.drop) == (pytest.approx(0.97), pytest.approx(0.03))
    assert accuracy.basis == "agreement"


@pytest.mark.parametrize("name", ["cosine", "mse", "mae"])
def test_means_of_numbers_have_a_bound_above_their_drop(tmp_path: Path, name: str) -> None:
    rng = np.random.default_rng(0)
    dataset = opened(tmp_path, x=rng.normal(size=(200, 4)))
    checked = gate(dataset, name, max_drop=MaxDrop(1.0, relative=False))
    noisy = checked.bound(lambda feeds: [feeds["x"] + rng.normal(size=(1, 4)).astype(np.float32) / 10], 1)
    assert noisy.drop is not None
    assert noisy.bound is not None
    assert 0 < noisy.drop < noisy.bound < 10 * noisy.drop
    assert checked.score(identity).drop == pytest.approx(0)


def test_the_same_outputs_everywhere_leave_a_doubt_that_few_samples_cannot_remove(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    dataset = opened(tmp_path, x=rng.normal(size=(100, 4)), labels=rng.normal(size=(100, 4)))
    accuracy = gate(dataset, "mse").bound(identity, 1)
    assert accuracy.drop == 0
    assert accuracy.bound is not None
    assert accuracy.bound > 0.05


def test_groups_make_the_bound_wider(tmp_path: Path) -> None:
    n = 600
    groups = np.arange(n) // 30
    plain, grouped = labelled(tmp_path, n), labelled(tmp_path, n, groups=groups)
    confirm = Part(plain, np.arange(300, n)), Part(grouped, np.arange(300, n))
    lost = {float(feeds["x"][0, 0]) for feeds in plain.samples(np.arange(300, 324))}  # all in one group
    worse = wrong_in(lost)
    bounds = []
    for part in confirm:
        parts = Parts(Part(part.dataset, np.arange(5)), Part(part.dataset, np.arange(300)), part)
        accuracy = gate(part.dataset, parts=parts).bound(worse, 1)
        assert accuracy.drop == pytest.approx(24 / 300)
        bounds.append(accuracy.bound)
    assert bounds[1] > bounds[0] + 0.02


@pytest.mark.parametrize("name", ["f1", "auc"])
def test_metrics_of_all_samples_are_bounded_by_resampling(tmp_path: Path, name: str) -> None:
    dataset = labelled(tmp_path, 400)
    parts = split(dataset, None, None, 0)
    worse = wrong_in(first_of(parts.confirm, 12))
    checked = gate(dataset, name, parts=parts)
    assert checked.original("search").score == 1
    assert checked.score(identity).drop == 0
    one, again = checked.bound(worse, 1), checked.bound(worse, 1)
    assert one == again
    assert one.drop is not None
    assert one.bound is not None
    assert 0.03 < one.drop < one.bound < one.drop + 0.2
    assert checked.bound(worse, 3).bound > one.bound  # type: ignore[operator]
    assert checked.bound(identity, 1).bound > 0  # type: ignore[operator]


USER = """
def accuracy(outputs, data):
    assert len(outputs) == 1, len(outputs)
    return float((outputs[0].argmax(axis=-1).reshape(-1) == data["labels"]).mean())

def shape(outputs, data):
    return float(outputs[0].shape[1])

def raises(outputs, data):
    raise ValueError("no")

def sometimes(outputs, data):
    return float("nan") if outputs[0].min() < -1e8 else 1.0
"""


@pytest.fixture
def user(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "made_up_gate_metric.py").write_text(USER)
    monkeypatch.syspath_prepend(str(tmp_path))
    monkeypatch.delitem(__import__("sys").modules, "made_up_gate_metric", raising=False)


@pytest.mark.usefixtures("user")
def test_a_metric_of_the_users_is_scored_and_bounded(tmp_path: Path) -> None:
    dataset = labelled(tmp_path, 200)
    parts = split(dataset, None, None, 0)
    worse = wrong_in(first_of(parts.confirm, 4))
    checked = gate(dataset, "made_up_gate_metric:accuracy", parts=parts)
    accuracy = checked.bound(worse, 1)
    assert (accuracy.score, accuracy.drop) == (pytest.approx(56 / 60), pytest.approx(4 / 60))
    assert 4 / 60 < accuracy.bound < 0.2  # type: ignore[operator]
    assert checked.score(identity).drop == 0


@pytest.mark.usefixtures("user")
def test_outputs_are_joined_on_the_models_batch_axis(tmp_path: Path) -> None:
    dataset = labelled(tmp_path, 40)
    run = lambda feeds: [feeds["x"].reshape(4, 1)]  # noqa: E731
    assert gate(dataset, "made_up_gate_metric:shape", run=run, batch_axis=1).original("search").score == 20
    assert gate(dataset, "made_up_gate_metric:shape", run=run).original("search").score == 4


@pytest.mark.usefixtures("user")
def test_a_metric_that_raises_is_refused_and_a_candidate_without_a_score_fails_alone(tmp_path: Path) -> None:
    dataset = labelled(tmp_path, 40)
    with pytest.raises(DataError, match="raises raised ValueError: no"):
        gate(dataset, "made_up_gate_metric:raises").original("search")
    with pytest.raises(CandidateFailed, match="gave nan"):
        gate(dataset, "made_up_gate_metric:sometimes").score(lambda feeds: [feeds["x"] - np.float32(1e9)])


@pytest.mark.parametrize("name", ["top1", "f1", "cosine", "mse"])
def test_a_candidate_whose_outputs_are_not_finite_fails(tmp_path: Path, name: str) -> None:
    dataset = labelled(tmp_path, 40)
    if name == "mse":
        dataset = opened(tmp_path, x=np.ones((40, 4)))
    with pytest.raises(CandidateFailed, match="NaN or infinity"):
        gate(dataset, name).score(lambda feeds: [feeds["x"] * np.float32(np.nan)])


def test_an_original_may_hold_infinity_where_the_metric_can_take_it(tmp_path: Path) -> None:
    def masked(feeds: Any) -> list[Any]:
        out = feeds["x"].copy()
        out[out < 0.1] = -np.inf
        return [out]

    dataset = labelled(tmp_path, 40)
    assert gate(dataset, "top1", run=masked).score(masked).drop == 0
    with pytest.raises(DataError, match="not finite"):
        gate(dataset, "cosine", run=masked).score(masked)


def test_another_number_of_results_fails_the_candidate(tmp_path: Path) -> None:
    dataset = opened(tmp_path, x=np.ones((40, 4)))
    with pytest.raises(CandidateFailed, match="cannot be compared"):
        gate(dataset, "mse").score(lambda feeds: [feeds["x"][:, :2]])


def test_a_streaming_model_is_scored_with_its_state(tmp_path: Path) -> None:
    x = np.eye(4, dtype=np.float32)[np.arange(60) % 4]
    inputs = [TensorSpec("x", "float32", (1, 4)), TensorSpec("h", "float32", (1, 4))]
    state = {"h_out": "h"}
    source = npz(tmp_path, x=x, groups=np.arange(60) // 6, labels=(np.arange(60) - 1) % 4)
    dataset = open_data(source, inputs, fixed=with_state({}, state), base=tmp_path)

    def previous(feeds: Any) -> list[Any]:
        return [feeds["h"], feeds["x"]]

    checked = gate(dataset, run=previous, state=state, output_names=["y", "h_out"])
    assert checked.original("search").score is not None
    # Only the first sample of a stream, of which there is no previous one, can be wrong.
    assert checked.original("search").score >= 1 - 1 / 6  # type: ignore[operator]
    forgetful = checked.score(lambda feeds: [feeds["h"] * 0, feeds["x"]], full=True)
    assert forgetful.drop > 0.4  # type: ignore[operator]


def test_large_outputs_of_the_original_go_to_disk(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("edgeopt.data.answers.Answers.__init__.__defaults__", (100,))
    dataset = opened(tmp_path, x=np.random.default_rng(0).normal(size=(60, 4)))
    checked = gate(dataset, "cosine")
    for _ in range(2):
        assert checked.score(identity).drop == pytest.approx(0)


def confirming(tmp_path: Path, labels: Any) -> Parts:
    """Parts whose data to confirm is a file of its own, with these labels."""
    searched = labelled(tmp_path, 40)
    more = {} if labels is None else {"labels": np.array(labels)}
    np.savez(tmp_path / "confirm.npz", x=np.eye(4, dtype=np.float32), **more)
    confirm = open_data("confirm.npz", [TensorSpec("x", "float32", (1, 4))], base=tmp_path)
    return split(searched, None, confirm, 0)


@pytest.mark.parametrize(
    ("name", "labels", "why"),
    [
        ("top1", None, r"data to confirm \(confirm.npz\): the metric top1 needs labels"),
        (None, None, "needs labels"),
        ("top1", [99] * 4, "labels go from 99 to 99, but output 0 has 4 classes"),
        ("f1", [-1, 0, 1, 2], "labels go from -1 to 2"),
        ("top1", ["a", "b", "c", "d"], "needs one number as label"),
        ("top1", [0.5, 0, 1, 2], "needs integer labels"),
    ],
)
def test_labels_to_confirm_are_checked_before_anything_runs(
    tmp_path: Path, name: str | None, labels: Any, why: str
) -> None:
    parts = confirming(tmp_path, labels)
    with pytest.raises(DataError, match=why):
        gate(parts.search.dataset, name, parts=parts)


def test_an_error_of_numbers_needs_its_labels_to_confirm_too(tmp_path: Path) -> None:
    searched = opened(tmp_path, x=np.ones((40, 4), np.float32), labels=np.ones((40, 4), np.float32))
    np.savez(tmp_path / "confirm.npz", x=np.eye(4, dtype=np.float32))
    confirm = open_data("confirm.npz", [TensorSpec("x", "float32", (1, 4))], base=tmp_path)
    with pytest.raises(DataError, match=r"data to confirm.*mse needs labels"):
        gate(searched, "mse", parts=split(searched, None, confirm, 0))


def test_what_only_calibrates_needs_no_labels(tmp_path: Path) -> None:
    parts = confirming(tmp_path, None)
    swapped = Parts(parts.confirm, parts.search, parts.search)
    assert gate(parts.search.dataset, parts=swapped).score(identity).drop == 0


@pytest.mark.usefixtures("user")
@pytest.mark.parametrize("labels", [None, ["a", "b", "c", "d"], [[0, 1]] * 4])
def test_a_metric_of_the_users_finds_the_same_kind_of_labels_everywhere(tmp_path: Path, labels: Any) -> None:
    parts = confirming(tmp_path, labels)
    with pytest.raises(DataError, match="data to confirm"):
        gate(parts.search.dataset, "made_up_gate_metric:accuracy", parts=parts)


@pytest.mark.usefixtures("user")
def test_a_metric_of_the_users_without_labels_has_the_original_as_its_basis(tmp_path: Path) -> None:
    dataset = opened(tmp_path, x=np.random.default_rng(0).uniform(size=(60, 4)))
    checked = gate(dataset, "made_up_gate_metric:sometimes")
    assert checked.score(identity).basis == "agreement"
    assert (checked.score(identity).score, checked.score(identity).drop) == (1.0, 0.0)
    assert checked.bound(identity, 1).part == "confirm"


def test_a_percentage_of_a_score_of_zero_is_refused(tmp_path: Path) -> None:
    dataset = opened(tmp_path, x=np.ones((40, 4), np.float32))
    with pytest.raises(ConfigError, match=r"scores 0 by mse.*1% of 0") as refusal:
        gate(dataset, "mse").original("search")
    assert "--max-drop 0.01" in str(refusal.value.hint)
    for fine in (MaxDrop(0.01, relative=False), MaxDrop(0.0, relative=True)):
        assert gate(dataset, "mse", max_drop=fine).original("search").score == 0
