"""basic-pitch 0.4: which notes sound in two seconds of music; 248 nodes, mostly shuffling. Apache-2.0."""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np

from benchmarks.rivals import subject

SCORED_ON = "labels: chords synthesized here (F1 of their notes)"
COUNT, SAMPLES, RATE = 240, 43844, 22050

METRIC = '''"""F1 over the 88 notes: heard is what is active in the middle of the sound, > 0.3 on average."""

import numpy as np

MIDDLE = slice(20, 150)


def note_f1(outputs, data):
    notes = np.asarray(outputs[1])  # StatefulPartitionedCall:1, (n, 172, 88)
    heard, played = notes[:, MIDDLE].mean(axis=1) > 0.3, np.asarray(data["labels"]) > 0
    right = (heard & played).sum()
    return float(2 * right / (heard.sum() + played.sum()))
'''


def make(packages: Path, folder: Path) -> None:
    """Lay it out in `folder`."""
    shutil.copy(packages / "basic_pitch" / "saved_models" / "icassp_2022" / "nmp.onnx", folder / "model.onnx")
    rng = np.random.default_rng(0)
    sounds, labels = zip(*(chord(rng) for _ in range(COUNT)), strict=True)
    arrays = {"serving_default_input_2:0": np.array(sounds), "labels": np.array(labels)}
    subject.parts(folder, arrays, 24, 66)
    (folder / "basic_pitch_metric.py").write_text(METRIC)
    subject.project(folder, "basic_pitch_metric:note_f1")


def chord(rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
    """One to four notes with harmonics, an attack and noise: (43844, 1) float32, and which of 88 notes."""
    time = np.arange(SAMPLES) / RATE
    played = rng.choice(np.arange(20, 65), int(rng.integers(1, 5)), replace=False)
    sound = 0.003 * rng.standard_normal(SAMPLES)
    fall = rng.uniform(0.3, 1.5)
    for note in played:
        pitch = 27.5 * 2 ** (note / 12)
        for harmonic in range(1, 9):
            if harmonic * pitch < RATE / 2:
                loud = 0.2 * rng.uniform(0.5, 1.0) / harmonic ** rng.uniform(1.0, 2.0)
                phase = 2 * np.pi * harmonic * pitch * time + rng.uniform(0, 2 * np.pi)
                sound += loud * np.exp(-fall * time) * np.sin(phase)
    label = np.zeros(88, np.int64)
    label[played] = 1
    return (sound * np.minimum(1, time / 0.01)).astype(np.float32)[:, None], label
