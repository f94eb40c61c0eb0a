from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from edgeopt.core.errors import ConfigError, DataError
from edgeopt.core.tensor import TensorSpec
from edgeopt.data.npy_member import members
from edgeopt.data.source import open_data
from tests.data.made import X4, npz, opened

FUZZ = settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])


@FUZZ
@given(
    array=hnp.arrays(
        st.sampled_from(["<f4", ">f4", "<i8", "u1", "<f2"]),
        hnp.array_shapes(min_dims=1, max_dims=4, max_side=5),
        elements=st.integers(0, 100),
    ),
    compressed=st.booleans(),
    fortran=st.booleans(),
    data=st.data(),
)
def test_streamed_rows_are_those_of_numpy(
    tmp_path: Path, array: np.ndarray, compressed: bool, fortran: bool, data: st.DataObject
) -> None:
    array = np.asfortranarray(array) if fortran else array
    (np.savez_compressed if compressed else np.savez)(tmp_path / "a.npz", x=array)
    with np.load(tmp_path / "a.npz") as loaded:
        expected = loaded["x"]
    member = members(tmp_path / "a.npz")["x"]
    chosen = data.draw(st.lists(st.integers(0, len(array) - 1), unique=True).map(sorted))
    for indices in (None, np.array(chosen, dtype=np.int64)):
        rows = list(member.rows(indices))
        wanted = expected if indices is None else expected[indices]
        assert len(rows) == len(wanted)
        assert all(np.array_equal(row, want) for row, want in zip(rows, wanted, strict=True))
    assert np.array_equal(member.whole(), expected)


@FUZZ
@given(
    place=st.floats(0, 1, exclude_max=True),
    byte=st.integers(0, 255),
    cut=st.booleans(),
    compressed=st.booleans(),
)
def test_a_damaged_archive_is_refused_with_one_error_and_never_a_crash(
    tmp_path: Path, place: float, byte: int, cut: bool, compressed: bool
) -> None:
    save = np.savez_compressed if compressed else np.savez
    save(tmp_path / "a.npz", x=np.arange(80, dtype=np.float32).reshape(20, 4), labels=np.arange(20))
    raw = bytearray((tmp_path / "a.npz").read_bytes())
    at = int(place * len(raw))
    if cut:
        del raw[at:]
    else:
        raw[at] = byte
    (tmp_path / "a.npz").write_bytes(raw)
    refusal = None
    try:
        dataset = open_data("a.npz", [X4], base=tmp_path)
    except DataError as error:
        refusal = error.message
    if refusal is None:  # a byte that means nothing (a date), or was written with its own value
        x = np.concatenate([feeds["x"] for feeds in dataset.samples()])
        assert np.array_equal(x, np.arange(80).reshape(20, 4))
    else:
        assert len(refusal.splitlines()) == 1


@pytest.mark.parametrize("compressed", [False, True])
def test_a_flipped_bit_in_the_data_is_found(tmp_path: Path, compressed: bool) -> None:
    x = np.random.default_rng(0).normal(size=(50, 4)).astype(np.float32)
    (np.savez_compressed if compressed else np.savez)(tmp_path / "a.npz", x=x)
    raw = bytearray((tmp_path / "a.npz").read_bytes())
    raw[len(raw) // 2] ^= 1
    (tmp_path / "a.npz").write_bytes(raw)
    with pytest.raises(DataError, match="damaged"):
        open_data("a.npz", [X4], base=tmp_path)


def shapes_of(path: Path, spec: TensorSpec, array: np.ndarray) -> tuple[tuple[int, ...], int]:
    dataset = opened(path, spec, **{spec.name: array})
    return dataset.shapes()[spec.name], len(dataset)


@pytest.mark.parametrize(
    ("shape", "array_shape", "sample", "n"),
    [
        ((1, 3), (7, 3), (1, 3), 7),  # the batch axis is the axis of samples
        ((1, 3), (7, 1, 3), (1, 3), 7),  # one axis more
        ((3,), (7, 3), (3,), 7),  # an input without a batch axis
        ((), (7,), (), 7),  # a scalar input
        ((2, 1, 3), (7, 2, 1, 3), (2, 1, 3), 7),  # batch on axis 1
        ((None, None), (7, 5), (1, 5), 7),  # the data settles what is open
        ((None, 5), (7, 2, 5), (2, 5), 7),
    ],
)
def test_a_sample_is_a_row_or_a_slice_as_the_input_has_axes(
    tmp_path: Path,
    shape: tuple[int | None, ...],
    array_shape: tuple[int, ...],
    sample: tuple[int, ...],
    n: int,
) -> None:
    array = np.arange(np.prod(array_shape)).reshape(array_shape)
    assert shapes_of(tmp_path, TensorSpec("x", "float32", shape), array) == (sample, n)
    dataset = opened(tmp_path, TensorSpec("x", "float32", shape), x=array)
    values = [feeds["x"] for feeds in dataset.samples(np.array([1, 4]))]
    wanted = [array[i] if array.ndim > len(shape) else array[i : i + 1] for i in (1, 4)]
    assert all(np.array_equal(v, w) and v.shape == w.shape for v, w in zip(values, wanted, strict=True))


def test_several_inputs_integers_and_fixed_ones(tmp_path: Path) -> None:
    inputs = [
        TensorSpec("ids", "int64", (1, 3)),
        TensorSpec("mask", "bool", (1, 3)),
        TensorSpec("sr", "int64", ()),
        TensorSpec("h", "float32", (2, 1, 4)),
    ]
    dataset = open_data(
        npz(tmp_path, ids=np.arange(6, dtype=np.uint8).reshape(2, 3), mask=np.ones((2, 3), bool)),
        inputs,
        fixed={"sr": np.array(16000), "h": np.zeros((), bool)},
        base=tmp_path,
    )
    feeds = list(dataset.samples())
    assert {name: (str(v.dtype), v.shape) for name, v in feeds[1].items()} == {
        "ids": ("int64", (1, 3)), "mask": ("bool", (1, 3)), "sr": ("int64", ()), "h": ("float32", (2, 1, 4)),
    }  # fmt: skip
    assert feeds[1]["ids"].tolist() == [[3, 4, 5]]
    assert feeds[1]["sr"] == 16000


def test_the_file_wins_over_a_fixed_value(tmp_path: Path) -> None:
    source = npz(tmp_path, x=np.ones((3, 4)))
    dataset = open_data(source, [X4], fixed={"x": np.zeros(())}, base=tmp_path)
    assert next(dataset.samples())["x"].tolist() == [[1, 1, 1, 1]]


def test_labels_are_an_input_where_the_model_says_so(tmp_path: Path) -> None:
    dataset = opened(tmp_path, TensorSpec("labels", "int64", (1,)), labels=np.arange(3))
    assert dataset.labels is None
    assert [int(feeds["labels"][0]) for feeds in dataset.samples()] == [0, 1, 2]


@pytest.mark.parametrize(
    ("arrays", "says"),
    [
        ({"y": np.zeros((3, 4))}, r"no array for the model's input 'x': it has y; the inputs are x float32"),
        ({"x": np.zeros((3, 5))}, r"\[1, 5\]; the model takes x float32\[1,4\]"),
        ({"x": np.zeros((3, 2, 2, 4))}, "model takes"),
        ({"x": np.zeros(())}, "no axis of samples"),
        ({"x": np.zeros((3, 4), complex)}, "complex128"),
        ({"x": np.full((3, 4), "a")}, "input 'x' takes float32, the array is <U1"),
        ({"x": np.zeros((3, 4), object)}, "pickled"),
        ({"x": np.zeros((3, 4)), "labels": np.array([0, None, 1])}, "'labels' is pickled"),
        ({"x": np.zeros((3, 4), [("a", "f4")])}, "type"),
        ({"x": np.zeros((0, 4))}, "no samples"),
        ({"x": np.zeros((3, 4)), "labels": np.arange(2)}, r"3 samples, but labels of shape \[2\]"),
        ({"x": np.zeros((3, 4)), "labels": np.array(2)}, r"labels of shape \[\]"),
        ({"x": np.zeros((3, 4)), "labels": np.array([0, np.nan, 1])}, "labels contain NaN"),
        ({"x": np.zeros((3, 4)), "groups": np.arange(2)}, "groups of shape"),
        ({"x": np.zeros((3, 4)), "groups": np.zeros((3, 2))}, "one axis"),
        ({"x": np.array([[0] * 4, [0, np.nan, 0, 0]])}, "sample 1 of data.npz.*NaN"),
        ({"x": np.array([[0] * 4, [0, 1e300, 0, 0]])}, "cannot hold"),
    ],
)
def test_data_that_does_not_fit_is_one_short_error(
    tmp_path: Path, arrays: dict[str, np.ndarray], says: str
) -> None:
    with pytest.raises(DataError, match=says) as caught:
        opened(tmp_path, X4, **arrays)
    assert caught.value.exit_code == 3
    assert len(caught.value.message.splitlines()) == 1


def test_inputs_of_different_lengths_are_refused(tmp_path: Path) -> None:
    inputs = [X4, TensorSpec("y", "float32", (1,))]
    with pytest.raises(DataError, match="x has 3, y has 2"):
        opened(tmp_path, *inputs, x=np.zeros((3, 4)), y=np.zeros(2))


def test_a_text_file_called_npz_is_refused(tmp_path: Path) -> None:
    (tmp_path / "a.npz").write_text("no")
    with pytest.raises(DataError, match=r"not an \.npz"):
        open_data("a.npz", [X4], base=tmp_path)


def test_a_missing_file_is_wrong_usage(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="there is no data at") as caught:
        open_data("none.npz", [X4], base=tmp_path)
    assert caught.value.exit_code == 2
    (tmp_path / "a.csv").write_text("1,2")
    with pytest.raises(ConfigError, match="is not data"):
        open_data("a.csv", [X4], base=tmp_path)


def test_an_encrypted_archive_is_refused(tmp_path: Path) -> None:
    source = tmp_path / npz(tmp_path, x=np.zeros((3, 4)))
    raw = bytearray(source.read_bytes())
    for signature, offset in ((b"PK\x03\x04", 6), (b"PK\x01\x02", 8)):  # the flag in both headers
        raw[raw.index(signature) + offset] |= 1
    source.write_bytes(raw)
    with pytest.raises(DataError, match="encrypted"):
        open_data(str(source), [X4], base=tmp_path)


def test_a_large_array_in_fortran_order_is_refused_with_the_remedy(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("edgeopt.data.npy_member.WHOLE_BYTES", 100)
    assert len(opened(tmp_path, x=np.asfortranarray(np.zeros((3, 4))))) == 3
    with pytest.raises(DataError, match="too large") as caught:
        opened(tmp_path, x=np.asfortranarray(np.zeros((4, 4))))
    assert "ascontiguousarray" in (caught.value.hint or "")


def test_the_digest_is_of_the_content_not_of_its_storage(tmp_path: Path) -> None:
    x = np.arange(12, dtype=np.float32).reshape(3, 4)
    plain = opened(tmp_path, x=x, labels=np.arange(3))
    np.savez_compressed(tmp_path / "b.npz", x=x[:, None], labels=np.arange(3))
    assert open_data("b.npz", [X4], base=tmp_path).digest == plain.digest
    other = x.copy()
    other[2, 3] += 1
    assert opened(tmp_path, x=other, labels=np.arange(3)).digest != plain.digest
    assert opened(tmp_path, x=x, labels=np.array([0, 1, 1])).digest != plain.digest
    assert opened(tmp_path, x=x).digest != plain.digest
    assert opened(tmp_path, x=x, labels=np.arange(3), groups=np.zeros(3)).digest != plain.digest


def test_a_known_file_is_not_read_through_again_and_a_changed_one_is(tmp_path: Path) -> None:
    digests: dict[str, str] = {}
    source = npz(tmp_path, x=np.zeros((3, 4)))
    first = open_data(source, [X4], base=tmp_path, digests=digests)
    assert list(digests.values()) == [first.digest]
    digests[next(iter(digests))] = "as remembered"
    assert open_data(source, [X4], base=tmp_path, digests=digests).digest == "as remembered"
    npz(tmp_path, x=np.full((4, 4), np.nan))
    with pytest.raises(DataError, match="NaN"):
        open_data(source, [X4], base=tmp_path, digests=digests)


def test_samples_are_read_only_because_they_are_kept(tmp_path: Path) -> None:
    dataset = opened(tmp_path, x=np.zeros((3, 4)))
    feeds = next(dataset.samples())
    with pytest.raises(ValueError, match="read-only"):
        feeds["x"][0] = 1


def test_a_small_data_set_is_read_once_and_then_kept(tmp_path: Path) -> None:
    dataset = opened(tmp_path, x=np.arange(12).reshape(3, 4))
    (tmp_path / "data.npz").unlink()
    assert [feeds["x"][0, 0] for feeds in dataset.samples(np.array([0, 2]))] == [0, 8]


def test_a_larger_one_is_read_each_time(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("edgeopt.data.dataset.MEMORY_BYTES", 47)
    dataset = opened(tmp_path, x=np.arange(12).reshape(3, 4))
    assert len(list(dataset.samples())) == 3
    (tmp_path / "data.npz").unlink()
    with pytest.raises(DataError, match="gone"):
        next(dataset.samples())


def test_other_arrays_of_the_file_are_kept_for_metrics(tmp_path: Path) -> None:
    weights = np.array([0.5, 1.5, 2.5])
    dataset = opened(tmp_path, x=np.zeros((3, 4)), weights=weights, names=np.array(["a", "b"]))
    assert set(dataset.columns()) == {"x", "weights"}
    assert dataset.column("weights", np.array([0, 2])).tolist() == [0.5, 2.5]
    assert dataset.column("x", np.array([0, 2])).shape == (2, 4)
