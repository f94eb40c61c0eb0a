from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from edgeopt.core.errors import ConfigError, DataError
from edgeopt.data.source import open_data
from edgeopt.data.split import Part, split
from tests.data.made import X4, npz, opened

FUZZ = settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])


@FUZZ
@given(n=st.integers(3, 200), seed=st.integers(0, 5))
def test_every_sample_is_in_exactly_one_part(tmp_path: Path, n: int, seed: int) -> None:
    parts = split(opened(tmp_path, x=np.zeros((n, 4)), labels=np.arange(n)), None, None, seed)
    every = [parts.calibration, parts.search, parts.confirm]
    assert sorted(np.concatenate([part.indices for part in every])) == list(range(n))
    assert all(len(part) for part in every)
    assert all((np.diff(part.indices) > 0).all() for part in every)


def test_the_shares_are_20_and_30_percent_and_calibration_at_most_256(tmp_path: Path) -> None:
    for n, sizes in ((100, (20, 50, 30)), (4000, (256, 2544, 1200))):
        parts = split(opened(tmp_path, x=np.zeros((n, 4))), None, None, 0)
        assert (len(parts.calibration), len(parts.search), len(parts.confirm)) == sizes


def test_the_same_seed_gives_the_same_parts_and_another_gives_others(tmp_path: Path) -> None:
    dataset = opened(tmp_path, x=np.zeros((100, 4)))
    one, same, other = (split(dataset, None, None, seed).confirm for seed in (1, 1, 2))
    assert one.indices.tolist() == same.indices.tolist()
    assert one.digest == same.digest
    assert one.indices.tolist() != other.indices.tolist()
    assert one.digest != other.digest


@FUZZ
@given(sizes=st.lists(st.integers(1, 9), min_size=3, max_size=30), seed=st.integers(0, 5))
def test_a_group_is_never_in_two_parts(tmp_path: Path, sizes: list[int], seed: int) -> None:
    groups = np.random.default_rng(0).permutation(np.repeat([f"u{i}" for i in range(len(sizes))], sizes))
    n = len(groups)
    parts = split(opened(tmp_path, x=np.zeros((n, 4)), groups=groups), None, None, seed)
    owners = [set(part.groups) for part in (parts.calibration, parts.search, parts.confirm)]  # type: ignore[arg-type]
    assert all(owners)
    assert sum(map(len, owners)) == len(set.union(*owners))
    assert len(parts.calibration) + len(parts.search) + len(parts.confirm) == n


def test_what_is_given_is_used_and_only_the_rest_is_split_off(tmp_path: Path) -> None:
    dataset = opened(tmp_path, x=np.zeros((100, 4)))
    np.savez(tmp_path / "b.npz", x=np.ones((7, 4)))
    given = open_data("b.npz", [X4], base=tmp_path)
    parts = split(dataset, given, None, 0)
    assert (len(parts.calibration), len(parts.search), len(parts.confirm)) == (7, 70, 30)
    assert parts.calibration.dataset is given
    parts = split(dataset, None, given, 0)
    assert (len(parts.calibration), len(parts.search), len(parts.confirm)) == (20, 80, 7)
    np.savez(tmp_path / "c.npz", x=np.full((5, 4), 2))
    parts = split(dataset, given, open_data("c.npz", [X4], base=tmp_path), 0)
    assert (len(parts.calibration), len(parts.search), len(parts.confirm)) == (7, 100, 5)


def test_too_few_samples_or_groups_say_the_minimum(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="2 samples; 3 parts need at least 3"):
        split(opened(tmp_path, x=np.zeros((2, 4))), None, None, 0)
    with pytest.raises(DataError, match="has 1 sample; 3 parts need"):
        split(opened(tmp_path, x=np.zeros((1, 4))), None, None, 0)
    with pytest.raises(DataError, match="2 groups; 3 parts need at least 3"):
        split(opened(tmp_path, x=np.zeros((9, 4)), groups=np.arange(9) % 2), None, None, 0)


def test_confirming_on_the_search_data_is_refused(tmp_path: Path) -> None:
    dataset = opened(tmp_path, x=np.zeros((9, 4)))
    with pytest.raises(ConfigError, match="same data"):
        split(dataset, None, open_data("data.npz", [X4], base=tmp_path), 0)


def test_confirming_on_the_calibration_data_is_refused(tmp_path: Path) -> None:
    np.savez(tmp_path / "b.npz", x=np.ones((7, 4)))
    one, same = (open_data("b.npz", [X4], base=tmp_path) for _ in range(2))
    with pytest.raises(ConfigError, match="same data as --calibration"):
        split(opened(tmp_path, x=np.zeros((9, 4))), one, same, 0)


def test_calibrating_on_the_searched_data_is_only_fine_if_confirm_is_not_in_it(tmp_path: Path) -> None:
    dataset = opened(tmp_path, x=np.zeros((9, 4)))
    same = open_data("data.npz", [X4], base=tmp_path)
    with pytest.raises(ConfigError, match="--calibration is the same data as --data"):
        split(dataset, same, None, 0)
    np.savez(tmp_path / "b.npz", x=np.ones((7, 4)))
    assert len(split(dataset, same, open_data("b.npz", [X4], base=tmp_path), 0).calibration) == 9


def test_folders_with_other_classes_are_refused(tmp_path: Path) -> None:
    search, confirm = (opened(tmp_path, x=np.full((9, 4), value)) for value in (0, 1))
    search.classes, confirm.classes = ("ant", "bee", "cat"), ("ant", "cat")
    with pytest.raises(DataError, match=r"differ in their classes.*bee"):
        split(search, None, confirm, 0)


def test_a_part_shows_its_arrays_when_they_are_asked_for(tmp_path: Path) -> None:
    x = np.arange(24).reshape(6, 4)
    dataset = opened(
        tmp_path, x=x, labels=np.arange(6) * 10, weights=np.arange(6) / 2, names=np.array(["a", "b"])
    )
    part = Part(dataset, np.array([1, 4]))
    data = part.arrays()
    assert set(data) == {"x", "labels", "weights"}  # names do not count the samples
    assert len(data) == 3
    assert np.array_equal(data["x"], x[[1, 4]])
    assert data["labels"].tolist() == [10, 40]
    resampled = data.of(np.array([1, 1, 0]))
    assert resampled["labels"].tolist() == [40, 40, 10]
    assert resampled["weights"].tolist() == [2.0, 2.0, 0.5]
    with pytest.raises(KeyError, match="it has"):
        data["label"]


def test_a_part_streams_its_samples(tmp_path: Path) -> None:
    source = npz(tmp_path, x=np.arange(24).reshape(6, 4))
    part = Part(open_data(source, [X4], base=tmp_path), np.array([0, 5]))
    assert [feeds["x"][0, 0] for feeds in part.samples()] == [0, 20]
