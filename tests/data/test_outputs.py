import numpy as np
import pytest

from edgeopt.data.answers import Answers
from edgeopt.data.outputs import Resampler, join


def answers(*shape: int, n: int = 4) -> list[tuple[np.ndarray, ...]]:
    return [(np.full(shape, i, np.float32),) for i in range(n)]


@pytest.mark.parametrize(
    ("shape", "axis", "joined"),
    [((1, 5), 0, (4, 5)), ((3, 1, 5), 1, (3, 4, 5)), ((5,), 0, (4, 5)), ((), 0, (4,)), ((3,), 1, (4, 3)),
     ((1, 5), None, (4, 1, 5))],
)  # fmt: skip
def test_outputs_are_joined_on_the_batch_axis_or_on_a_new_one(
    shape: tuple[int, ...], axis: int | None, joined: tuple[int, ...]
) -> None:
    result = join(answers(*shape), axis)
    assert result.values[0].shape == joined
    taken = result.take(np.array([3, 0, 3]))[0]
    assert sorted(set(np.unique(taken))) == [0, 3]
    assert np.moveaxis(taken, result.axes[0] or 0, 0)[0].mean() == 3


def test_outputs_of_different_shapes_stay_a_list() -> None:
    several = [(np.zeros((k, 4)), np.zeros((1, 2))) for k in (1, 3, 2)]
    result = join(several, 0)
    assert [value.shape for value in result.values[0]] == [(1, 4), (3, 4), (2, 4)]
    assert result.values[1].shape == (3, 2)
    assert [value.shape for value in result.take(np.array([1, 1]))[0]] == [(3, 4), (3, 4)]


@pytest.mark.parametrize("limit_bytes", [0, 70, 10**6])
def test_answers_come_back_from_memory_and_from_disk(limit_bytes: int) -> None:
    rng = np.random.default_rng(0)
    given = [(rng.normal(size=(1, 3)), np.array(i)) for i in range(9)]
    kept = Answers(limit_bytes)
    for answer in given:
        kept.append(answer)
    assert len(kept) == 9
    for _ in range(2):
        back = list(kept)
        assert all(
            np.array_equal(a, b)
            for one, two in zip(back, given, strict=True)
            for a, b in zip(one, two, strict=True)
        )
    half_way = iter(kept)
    assert np.array_equal(next(half_way)[0], given[0][0])
    assert len(list(kept)) == 9  # another reader in between
    assert np.array_equal(next(half_way)[0], given[1][0])


def test_answers_do_not_follow_a_buffer_that_is_used_again() -> None:
    buffer = np.zeros(3)
    kept = Answers()
    kept.append((buffer,))
    buffer[:] = 9
    assert next(iter(kept))[0].tolist() == [0, 0, 0]


@pytest.mark.parametrize("axis", [0, 1])
def test_a_resampler_takes_the_same_as_once_into_the_same_memory(axis: int) -> None:
    joined = join(answers(*(1, 5) if axis == 0 else (3, 1, 5)), axis)
    again = Resampler(joined)
    (first,) = again.take(np.array([3, 0, 3]))
    assert np.array_equal(first, joined.take(np.array([3, 0, 3]))[0])
    (second,) = again.take(np.array([1, 2, 2]))
    assert second is first
    assert np.array_equal(second, joined.take(np.array([1, 2, 2]))[0])
    assert np.array_equal(
        again.take(np.array([1]))[0], joined.take(np.array([1]))[0]
    )  # as many as a group has
