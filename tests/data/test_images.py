from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from PIL import Image

from edgeopt.core.errors import DataError
from edgeopt.core.tensor import TensorSpec
from edgeopt.data.preprocess import Preprocess
from edgeopt.data.source import open_data

RGB = TensorSpec("x", "float32", (1, 3, 4, 6))


def save(path: Path, pixels: np.ndarray) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(pixels).save(path)
    return path


def pixels(height: int, width: int, channels: int = 3, seed: int = 0) -> np.ndarray:
    shape = (height, width, channels) if channels > 1 else (height, width)
    return np.random.default_rng(seed).integers(0, 256, shape, dtype=np.uint8)


def only(folder: Path, spec: TensorSpec, **preprocess: object) -> np.ndarray:
    dataset = open_data(str(folder), [spec], preprocess=Preprocess.parse(preprocess), base=folder)
    return next(dataset.samples())[spec.name]


def test_scale_mean_and_std_come_after_decoding_in_this_order(tmp_path: Path) -> None:
    raw = pixels(4, 6)
    save(tmp_path / "a.png", raw)
    mean, std = [0.485, 0.456, 0.406], [0.229, 0.224, 0.225]
    value = only(tmp_path, RGB, scale=1 / 255, mean=mean, std=std)
    assert value.dtype == np.float32
    assert np.allclose(value, (((raw / 255) - mean) / std).transpose(2, 0, 1)[None], atol=1e-5)


@pytest.mark.parametrize(
    ("spec", "given", "channels_last"),
    [
        (TensorSpec("x", "uint8", (1, 3, 4, 6)), {}, False),
        (TensorSpec("x", "uint8", (1, 4, 6, 3)), {}, True),
        (TensorSpec("x", "uint8", (None, None, None, None)), {"layout": "NHWC"}, True),
        (TensorSpec("x", "uint8", (3, 4, 6)), {}, False),
        (TensorSpec("x", "int64", (4, 6, 3)), {}, True),
    ],
)
def test_the_layout_is_what_is_said_or_what_the_shape_says(
    tmp_path: Path, spec: TensorSpec, given: dict[str, object], channels_last: bool
) -> None:
    raw = pixels(4, 6)
    save(tmp_path / "a.png", raw)
    value = only(tmp_path, spec, **given)
    assert np.array_equal(value.squeeze(), raw if channels_last else raw.transpose(2, 0, 1))
    assert value.dtype == np.dtype(spec.dtype)
    assert value.ndim == len(spec.shape)


@pytest.mark.parametrize("shape", [(1, 1, 4, 6), (1, 4, 6, 1), (1, 4, 6), (4, 6)])
def test_one_channel_means_gray(tmp_path: Path, shape: tuple[int, ...]) -> None:
    raw = pixels(4, 6)
    file = save(tmp_path / "a.png", raw)
    value = only(tmp_path, TensorSpec("x", "uint8", shape))
    assert value.shape == shape
    assert np.array_equal(value.reshape(4, 6), np.asarray(Image.open(file).convert("L")))


def test_resize_is_height_then_width_and_crop_takes_the_centre(tmp_path: Path) -> None:
    raw = pixels(10, 20, channels=1)
    file = save(tmp_path / "a.png", raw)
    spec = TensorSpec("x", "uint8", (1, 1, 4, 6))
    assert np.array_equal(only(tmp_path, spec, crop=[4, 6])[0, 0], raw[3:7, 7:13])
    small = np.asarray(Image.open(file).resize((6, 4), Image.Resampling.BILINEAR))
    assert np.array_equal(only(tmp_path, spec, resize=[4, 6])[0, 0], small)


@pytest.mark.parametrize(
    ("preprocess", "says"),
    [
        ({"crop": [5, 6]}, "4 x 6, smaller than the crop of 5 x 6"),
        ({"mean": [0.1, 0.2]}, "3 channels, mean is given for 2"),
        ({"resize": [8, 8]}, "the model takes x"),
        ({"color": "gray"}, "the model takes x"),
    ],
)
def test_preprocessing_that_does_not_fit_is_refused(
    tmp_path: Path, preprocess: dict[str, object], says: str
) -> None:
    save(tmp_path / "a.png", pixels(4, 6))
    with pytest.raises(DataError, match=says):
        only(tmp_path, RGB, **preprocess)


def test_scaled_values_do_not_go_into_an_integer_input(tmp_path: Path) -> None:
    save(tmp_path / "a.png", pixels(4, 6))
    with pytest.raises(DataError, match="takes uint8, the data is float32"):
        only(tmp_path, TensorSpec("x", "uint8", (1, 3, 4, 6)), scale=0.5)


def test_more_than_8_bits_a_channel_are_refused(tmp_path: Path) -> None:
    save(tmp_path / "a.png", np.full((4, 6), 60000, dtype=np.uint16))
    with pytest.raises(DataError, match="8 bits"):
        only(tmp_path, RGB)


def test_class_folders_are_labels_in_the_order_of_their_names(tmp_path: Path) -> None:
    for number, name in enumerate(["dog/2.png", "dog/1.png", "ant/deep/1.png", "cat/1.PNG"]):
        save(tmp_path / name, pixels(4, 6, seed=number))
    (tmp_path / "bee").mkdir()  # a class without samples keeps its id
    (tmp_path / ".cache").mkdir()
    save(tmp_path / "cat" / ".thumbs" / "1.png", pixels(4, 6))
    (tmp_path / "LICENSE").write_text("free")
    dataset = open_data(str(tmp_path), [RGB], base=tmp_path)
    assert dataset.classes == ("ant", "bee", "cat", "dog", "home")  # `home` is of the test's fixture
    assert dataset.labels is not None
    assert dataset.labels.tolist() == [0, 2, 3, 3]
    reds = [feeds["x"][0, 0, 0, 0] for feeds in dataset.samples()]
    assert reds == [pixels(4, 6, seed=s)[0, 0, 0] for s in (2, 3, 1, 0)]


def test_labels_csv_says_files_labels_and_groups(tmp_path: Path) -> None:
    for name in ("a.png", "b.png", "unused.png"):
        save(tmp_path / name, pixels(4, 6))
    (tmp_path / "labels.csv").write_text("\ufefffile,label,group\nb.png,spam,u1\na.png,ham,u2\n")
    dataset = open_data(str(tmp_path), [RGB], base=tmp_path)
    assert dataset.labels is not None
    assert dataset.groups is not None
    assert (dataset.labels.tolist(), dataset.groups.tolist()) == ([1, 0], ["u1", "u2"])
    assert dataset.classes == ("ham", "spam")


@pytest.mark.parametrize(("words", "dtype"), [("3 1", "int64"), ("0.5 1", "float64")])
def test_labels_csv_keeps_numbers_as_they_are(tmp_path: Path, words: str, dtype: str) -> None:
    save(tmp_path / "a.png", pixels(4, 6))
    lines = [f"a.png,{word}" for word in words.split()]
    (tmp_path / "labels.csv").write_text("\n".join(["file,label", *lines]))
    labels = open_data(str(tmp_path), [RGB], base=tmp_path).labels
    assert labels is not None
    assert labels.tolist() == [float(word) for word in words.split()]
    assert labels.dtype == dtype


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("name,label\na.png,1\n", "first line"),
        ("", "first line"),
        ("file,label\nnone.png,1\n", "line 2: there is no file 'none.png'"),
        ("file,label\na.png\n", "line 2: it must have 2 fields"),
        ("file,label\na.png,\n", "line 2"),
        ("file,label\na.png,1,2\n", "line 2"),
        ("file,label\nlabels.csv,1\n", "neither an image nor"),
        ("file,label\na.png,nan\n", "labels contain NaN"),
        ("file,label\n", "no images"),
    ],
)
def test_a_bad_labels_csv_is_refused(tmp_path: Path, text: str, says: str) -> None:
    save(tmp_path / "a.png", pixels(4, 6))
    (tmp_path / "labels.csv").write_text(text)
    with pytest.raises(DataError, match=says):
        open_data(str(tmp_path), [RGB], base=tmp_path)


def test_folders_without_a_clear_meaning_are_refused(tmp_path: Path) -> None:
    folder = tmp_path / "set"
    folder.mkdir()
    with pytest.raises(DataError, match="no images or WAV files"):
        open_data("set", [RGB], base=tmp_path)
    save(folder / "a.png", pixels(4, 6))
    assert open_data("set", [RGB], base=tmp_path).labels is None
    save(folder / "cat" / "a.png", pixels(4, 6))
    with pytest.raises(DataError, match="beside class folders"):
        open_data("set", [RGB], base=tmp_path)
    (folder / "a.png").rename(folder / "cat" / "a.wav")
    with pytest.raises(DataError, match="images and WAV files"):
        open_data("set", [RGB], base=tmp_path)


def test_a_folder_feeds_exactly_one_input(tmp_path: Path) -> None:
    save(tmp_path / "a.png", pixels(4, 6))
    inputs = [RGB, TensorSpec("sr", "int64", ())]
    with pytest.raises(DataError, match="one input"):
        open_data(str(tmp_path), inputs, base=tmp_path)
    fed = next(open_data(str(tmp_path), inputs, fixed={"sr": np.array(8)}, base=tmp_path).samples())
    assert fed["sr"] == 8
    assert fed["x"].shape == RGB.shape


def test_images_of_different_sizes_are_refused_where_the_input_is_open(tmp_path: Path) -> None:
    save(tmp_path / "a.png", pixels(4, 6))
    save(tmp_path / "b.png", pixels(4, 7))
    with pytest.raises(DataError, match="they must agree"):
        open_data(str(tmp_path), [TensorSpec("x", "float32", (1, 3, None, None))], base=tmp_path)


@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(place=st.floats(0, 1, exclude_max=True), byte=st.integers(0, 255), cut=st.booleans())
def test_a_damaged_image_is_refused_by_name_and_never_crashes(
    tmp_path: Path, place: float, byte: int, cut: bool
) -> None:
    raw = bytearray(save(tmp_path / "a.png", pixels(4, 6)).read_bytes())
    at = int(place * len(raw))
    if cut:
        del raw[at:]
    else:
        raw[at] = byte
    (tmp_path / "a.png").write_bytes(raw)
    refusal = "a.png"
    try:
        open_data(str(tmp_path), [RGB], base=tmp_path)
    except DataError as error:
        refusal = error.message
    assert "a.png" in refusal
    assert len(refusal.splitlines()) == 1


def test_a_text_file_called_png_is_refused(tmp_path: Path) -> None:
    (tmp_path / "a.png").write_text("no")
    with pytest.raises(DataError, match=r"a.png cannot be read as an image"):
        open_data(str(tmp_path), [RGB], base=tmp_path)
