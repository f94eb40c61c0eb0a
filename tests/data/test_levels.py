"""What a source says of its bytes is what it feeds."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import soundfile
from PIL import Image

from edgeopt.core.errors import DataError
from edgeopt.core.interface import Levels
from edgeopt.core.tensor import TensorSpec
from edgeopt.data.levels import FIXED, SOUND, common, of_preprocess
from edgeopt.data.preprocess import Preprocess
from edgeopt.data.source import open_data
from edgeopt.runtimes.feeding import bytes_of

NCHW, NHWC = TensorSpec("x", "float32", (1, 3, 6, 5)), TensorSpec("x", "float32", (1, 6, 5, 3))
GRAY = TensorSpec("x", "float32", (1, 1, 6, 5))
IMAGENET = Preprocess(scale=1 / 255, mean=(0.485, 0.456, 0.406), std=(0.229, 0.224, 0.225))
PIXELS = np.random.default_rng(0).integers(0, 256, (4, 6, 5, 3), dtype=np.uint8)

CODE = """import numpy as np

SEVEN = np.full((3, 6, 5), 7, np.uint8)


def pixels():
    yield SEVEN, 0
    yield SEVEN, 1


def mixed():
    yield SEVEN, 0
    yield SEVEN.astype(np.float32), 1
"""


@pytest.mark.parametrize("spec", [NCHW, NHWC, GRAY])
@pytest.mark.parametrize("preprocess", [IMAGENET, Preprocess(), Preprocess(scale=2 / 255, mean=(1.0,))])
def test_images_are_made_of_the_bytes_that_they_say(
    tmp_path: Path, spec: TensorSpec, preprocess: Preprocess
) -> None:
    if spec is GRAY and preprocess is IMAGENET:
        preprocess = Preprocess(scale=1 / 255, mean=(0.485,), std=(0.229,))
    (tmp_path / "images").mkdir()
    for index, pixels in enumerate(PIXELS):
        Image.fromarray(pixels if spec is not GRAY else pixels[..., 0]).save(
            tmp_path / "images" / f"{index}.png"
        )
    data = open_data("images", [spec], preprocess=preprocess, base=tmp_path)
    levels = data.levels()["x"]
    assert isinstance(levels, Levels)
    for feeds, pixels in zip(data.samples(), PIXELS, strict=True):
        channels = pixels[..., :1] if spec is GRAY else pixels
        wanted = channels if spec is NHWC else channels.transpose(2, 0, 1)
        assert np.array_equal(bytes_of(levels, feeds["x"], "x"), wanted[None])


@pytest.mark.parametrize("spec", [NCHW, NHWC])
def test_uint8_arrays_are_bytes_and_preprocessed_only_if_that_was_said(
    tmp_path: Path, spec: TensorSpec
) -> None:
    pixels = PIXELS if spec is NHWC else PIXELS.transpose(0, 3, 1, 2)
    np.savez(tmp_path / "d.npz", x=pixels)
    layout = "NHWC" if spec is NHWC else "NCHW"
    for arrays in (False, True):
        preprocess = Preprocess(
            scale=1 / 255, mean=IMAGENET.mean, std=IMAGENET.std, layout=layout, arrays=arrays
        )
        data = open_data("d.npz", [spec], preprocess=preprocess, base=tmp_path)
        levels, first = data.levels()["x"], next(data.samples())["x"]
        assert isinstance(levels, Levels)
        assert (levels == Levels()) is not arrays
        assert first.dtype == np.float32
        assert first.max() <= 3 if arrays else first.max() > 100
        assert np.array_equal(bytes_of(levels, first, "x"), pixels[:1])


def test_means_of_other_channels_than_an_array_has_are_refused(tmp_path: Path) -> None:
    np.savez(tmp_path / "d.npz", x=PIXELS[..., :1].transpose(0, 3, 1, 2))
    preprocess = Preprocess(mean=IMAGENET.mean, arrays=True)
    with pytest.raises(DataError, match="1 channels, mean is given for 3"):
        open_data("d.npz", [GRAY], preprocess=preprocess, base=tmp_path)


def test_what_is_not_stored_in_bytes_says_so(tmp_path: Path) -> None:
    np.savez(tmp_path / "d.npz", x=np.zeros((2, 3, 6, 5), np.float32))
    specs = [NCHW, TensorSpec("h", "float32", (1,))]
    data = open_data("d.npz", specs, fixed={"h": np.zeros(())}, base=tmp_path)
    assert data.levels() == {"x": "the data are float32: only uint8 arrays are bytes", "h": FIXED}
    (tmp_path / "wav").mkdir()
    soundfile.write(tmp_path / "wav" / "a.wav", np.zeros(100), 8000)
    sound = open_data("wav", [TensorSpec("x", "float32", (1, 100))], base=tmp_path)
    assert sound.levels() == {"x": SOUND}


def test_a_function_yields_bytes_if_all_its_arrays_are(tmp_path: Path) -> None:
    (tmp_path / "bytes_of_levels.py").write_text(CODE)
    preprocess = Preprocess(scale=0.5, arrays=True)
    data = open_data("bytes_of_levels:pixels", [NCHW], preprocess=preprocess, base=tmp_path)
    assert data.levels() == {"x": Levels((0.5,), (-0.0,))}
    assert next(data.samples())["x"].max() == 3.5
    assert isinstance(open_data("bytes_of_levels:mixed", [NCHW], base=tmp_path).levels()["x"], str)


def test_parts_that_differ_in_their_bytes_have_none() -> None:
    one, other = {"x": Levels()}, {"x": Levels((0.5,))}
    assert common([one, one]) == one
    assert "differ" in str(common([one, one, other])["x"])
    assert common([one, {"x": "no"}, one]) == {"x": "no"}


def test_without_data_the_preprocessing_of_images_says_it() -> None:
    found = of_preprocess(IMAGENET, [NCHW, TensorSpec("n", "int64", (1,))])
    assert isinstance(found["x"], Levels)
    assert found["x"].axis == 1
    assert of_preprocess(Preprocess(), [NCHW]) == {}
    assert of_preprocess(IMAGENET, [NCHW, NHWC]) == {}
    assert isinstance(of_preprocess(IMAGENET, [GRAY])["x"], str)
