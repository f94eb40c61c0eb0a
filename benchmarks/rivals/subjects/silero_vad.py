"""silero-vad 6.2 over a sequence of windows: where somebody speaks; STFT as Conv, and an LSTM. MIT."""

from __future__ import annotations

import shutil
import wave
from pathlib import Path

import numpy as np

from benchmarks.rivals import subject

SCORED_ON = "labels: loudness of clean speech (pocketsphinx-testdata) before noise is added (AUC of windows)"
COUNT, WINDOWS, HOP, CONTEXT = 400, 32, 512, 64

METRIC = '''"""Area under the ROC curve of all windows that are clearly speech or clearly silent."""

import numpy as np
from scipy.stats import rankdata


def auc_of_windows(outputs, data):
    scores = np.concatenate([np.ravel(value) for value in outputs[0]]).astype(np.float64)
    labels = np.ravel(data["labels"])
    known = labels >= 0
    ranks, speech = rankdata(scores[known]), labels[known] == 1
    n = speech.sum()
    return float((ranks[speech].sum() - n * (n + 1) / 2) / (n * (~speech).sum()))
'''


def make(packages: Path, folder: Path) -> None:
    """Lay it out in `folder`."""
    shutil.copy(packages / "silero_vad" / "data" / "silero_vad_16k_sequence.onnx", folder / "model.onnx")
    recordings = sorted((packages / "pocketsphinx").rglob("*.wav"))
    speech = np.concatenate([loaded(path) for path in recordings])
    rng = np.random.default_rng(0)
    windows, labels = zip(*(mixture(speech, rng) for _ in range(COUNT)), strict=True)
    subject.parts(folder, {"input": np.array(windows), "labels": np.array(labels)}, 48, 120)
    (folder / "silero_vad_metric.py").write_text(METRIC)
    subject.project(folder, "silero_vad_metric:auc_of_windows", fixed={"h": "zeros", "c": "zeros"})


def loaded(path: Path) -> np.ndarray:
    """(n,) float64 of a 16-bit file at 16 kHz, at the same loudness as the others."""
    with wave.open(str(path)) as stream:
        sound = np.frombuffer(stream.readframes(stream.getnframes()), np.int16) / 32768
    return sound * 0.1 / np.sqrt(np.mean(sound**2))


def mixture(speech: np.ndarray, rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
    """A second of speech with a pause of some length in it, noise of 0 to 15 dB below: (32, 576), (32,).

    A window's label is 1 where the speech in it is within 15 dB of the speech's mean, 0 where it is more than
    35 dB below, else -1: not scored.
    """
    length = WINDOWS * HOP + CONTEXT
    start = int(rng.integers(len(speech) - length))
    clean = speech[start : start + length].copy()
    pause = int(rng.integers(length // 2))
    clean[pause : pause + int(rng.integers(length // 2))] = 0
    level = 0.1 * 10 ** (-rng.uniform(0, 15) / 20)
    noisy = clean + level * coloured(length, rng)
    loud_db = np.array([
        10 * np.log10(np.mean(clean[CONTEXT + i * HOP : CONTEXT + (i + 1) * HOP] ** 2) / 0.01 + 1e-9)
        for i in range(WINDOWS)
    ])  # fmt: skip
    label = np.where(loud_db > -15, 1, np.where(loud_db < -35, 0, -1))
    windows = np.array([noisy[i * HOP : i * HOP + HOP + CONTEXT] for i in range(WINDOWS)])
    return windows.astype(np.float32), label


def coloured(length: int, rng: np.random.Generator) -> np.ndarray:
    """Noise between white and brown, of power 1."""
    spectrum = np.fft.rfft(rng.standard_normal(length))
    spectrum[1:] /= np.arange(1, len(spectrum)) ** rng.uniform(0, 0.8)
    noise = np.fft.irfft(spectrum, length)
    return noise / noise.std()
