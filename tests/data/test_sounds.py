from pathlib import Path

import numpy as np
import pytest
import soundfile

from edgeopt.core.errors import DataError
from edgeopt.core.tensor import TensorSpec
from edgeopt.data.log_mel import log_mel
from edgeopt.data.preprocess import LogMel, Preprocess
from edgeopt.data.source import open_data


def tone(hz: float, seconds: float, rate_hz: int) -> np.ndarray:
    return (0.5 * np.sin(2 * np.pi * hz * np.arange(int(seconds * rate_hz)) / rate_hz)).astype(np.float32)


def save(path: Path, wave: np.ndarray, rate_hz: int = 8000, subtype: str = "FLOAT") -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    soundfile.write(path, wave, rate_hz, subtype=subtype)


def values(folder: Path, shape: tuple[int | None, ...], **preprocess: object) -> list[np.ndarray]:
    dataset = open_data(
        str(folder), [TensorSpec("x", "float32", shape)], preprocess=Preprocess.parse(preprocess), base=folder
    )
    return [feeds["x"] for feeds in dataset.samples()]


def test_samples_lie_in_minus_one_to_one_and_take_the_inputs_shape(tmp_path: Path) -> None:
    wave = tone(440, 0.1, 8000)
    save(tmp_path / "a.wav", wave, subtype="PCM_16")
    (value,) = values(tmp_path, (1, 1, 800))
    assert value.dtype == np.float32
    assert np.allclose(value.reshape(-1), wave, atol=1e-4)


def test_a_file_is_padded_with_silence_or_cut_to_the_input(tmp_path: Path) -> None:
    save(tmp_path / "a.wav", np.full(5, 0.5, np.float32))
    save(tmp_path / "b.wav", np.full(9, 0.25, np.float32))
    short, long = values(tmp_path, (1, 7))
    assert short.tolist() == [[0.5] * 5 + [0.0] * 2]
    assert long.tolist() == [[0.25] * 7]


def test_another_rate_is_resampled(tmp_path: Path) -> None:
    save(tmp_path / "a.wav", tone(440, 0.2, 16000), 16000)
    (value,) = values(tmp_path, (1, 1600), sample_rate=8000)
    middle = slice(100, -100)  # the filter rings at both ends
    assert np.allclose(value[0][middle], tone(440, 0.2, 8000)[middle], atol=5e-3)


def test_files_of_different_rates_are_refused_unless_the_models_is_said(tmp_path: Path) -> None:
    save(tmp_path / "a.wav", tone(440, 0.1, 8000), 8000)
    save(tmp_path / "b.wav", tone(440, 0.1, 16000), 16000)
    with pytest.raises(DataError, match=r"b.wav has 16000 Hz, the first file 8000 Hz"):
        values(tmp_path, (1, 800))
    assert len(values(tmp_path, (1, 800), sample_rate=8000)) == 2


def test_channels_are_mixed_or_kept(tmp_path: Path) -> None:
    stereo = np.stack([np.full(4, 0.5), np.full(4, -0.25)], axis=1).astype(np.float32)
    save(tmp_path / "a.wav", stereo)
    assert values(tmp_path, (1, 4))[0].tolist() == [[0.125] * 4]
    assert values(tmp_path, (1, 2, 4), mono=False)[0].tolist() == [[[0.5] * 4, [-0.25] * 4]]


def test_an_open_length_is_settled_by_files_of_one_length_only(tmp_path: Path) -> None:
    save(tmp_path / "a.wav", tone(440, 0.1, 8000))
    assert values(tmp_path, (None, None))[0].shape == (1, 800)
    save(tmp_path / "b.wav", tone(440, 0.2, 8000))
    with pytest.raises(DataError, match="they must agree"):
        values(tmp_path, (None, None))


def test_scale_mean_and_std_apply_to_the_result(tmp_path: Path) -> None:
    save(tmp_path / "a.wav", np.full(4, 0.5, np.float32))
    assert values(tmp_path, (4,), scale=2, mean=0.5, std=0.25)[0].tolist() == [2.0] * 4
    with pytest.raises(DataError, match="one value"):
        values(tmp_path, (4,), mean=[0.5, 0.5])


@pytest.mark.parametrize("shape", [(1, 20, 9), (1, 9, 20), (1, 1, 20, 9)])
def test_log_mel_fills_the_input_whichever_way_it_lies(tmp_path: Path, shape: tuple[int, ...]) -> None:
    save(tmp_path / "a.wav", tone(1000, 0.5, 8000))
    mel = {"bands": 20, "window_ms": 25, "hop_ms": 10}
    (value,) = values(tmp_path, shape, log_mel=mel)
    assert value.shape == shape
    bands_first = value.reshape(20, 9) if shape[-1] == 9 else value.reshape(9, 20).T
    wanted = log_mel(tone(1000, 0.5, 8000)[: 8 * 80 + 200], LogMel(20, 25, 10), 8000)
    assert np.array_equal(bands_first, wanted)


def test_log_mel_of_an_input_that_has_no_room_for_its_bands_is_refused(tmp_path: Path) -> None:
    save(tmp_path / "a.wav", tone(1000, 0.5, 8000))
    with pytest.raises(DataError, match="do not divide"):
        values(tmp_path, (1, 33), log_mel={"bands": 20, "window_ms": 25, "hop_ms": 10})


def test_a_tone_is_loudest_in_the_band_of_its_frequency() -> None:
    mel, rate_hz = LogMel(30, 32, 10), 16000
    edges = 700 * (10 ** (np.linspace(0, 2595 * np.log10(1 + 8000 / 700), 32) / 2595) - 1)
    for band in (5, 12, 25):
        result = log_mel(tone(edges[band + 1], 0.3, rate_hz), mel, rate_hz)
        assert result.shape == (30, 27)
        assert set(result.argmax(axis=0)) == {band}


def test_silence_is_the_floor() -> None:
    assert np.allclose(log_mel(np.zeros(800, np.float32), LogMel(4, 25, 10), 8000), np.log(1e-6))


@pytest.mark.parametrize("content", [b"no", b"RIFF\x00\x00\x00\x00WAVE"])
def test_what_is_not_a_wav_file_is_refused_by_name(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "a.wav").write_bytes(content)
    with pytest.raises(DataError, match=r"a.wav cannot be read as a WAV file"):
        values(tmp_path, (1, 7))


def test_an_empty_wav_file_is_refused(tmp_path: Path) -> None:
    save(tmp_path / "a.wav", np.zeros(0, np.float32))
    with pytest.raises(DataError, match="holds no samples"):
        values(tmp_path, (1, 7))


def test_class_folders_label_sounds_too(tmp_path: Path) -> None:
    save(tmp_path / "set" / "yes" / "a.wav", np.zeros(4, np.float32))
    save(tmp_path / "set" / "no" / "a.wav", np.zeros(4, np.float32))
    dataset = open_data("set", [TensorSpec("x", "float32", (1, 4))], base=tmp_path)
    assert dataset.classes == ("no", "yes")
    assert dataset.labels is not None
    assert dataset.labels.tolist() == [0, 1]
