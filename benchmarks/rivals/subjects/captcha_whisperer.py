"""captcha-whisperer 0.1: a CRNN whose bidirectional LSTM is unrolled into 900 nodes. MIT."""

from __future__ import annotations

import random
import shutil
import sys
from pathlib import Path
from unittest import mock

import numpy as np

from benchmarks.rivals import subject

SCORED_ON = "the original's text of pictures drawn by the package `captcha` (whole texts)"
COUNT = 700

METRIC = '''"""Share of pictures that are read as the original reads them, after the CTC rule."""

import numpy as np

BLANK = 36


def texts(logits):
    """(n, 20, 37) logits to n tuples: repeats dropped, then blanks."""
    best = np.asarray(logits).reshape(-1, 20, 37).argmax(-1)
    return [tuple(c for c, p in zip(row, (BLANK, *row)) if c not in (p, BLANK)) for row in best.tolist()]


def same_text(outputs, data):
    wanted = [tuple(c for c in row if c >= 0) for row in np.asarray(data["labels"]).tolist()]
    # Joined along the first axis, which is time: one sample after the other.
    return float(np.mean([said == text for said, text in zip(texts(outputs[0]), wanted, strict=True)]))
'''


def make(packages: Path, folder: Path) -> None:
    """Lay it out in `folder`; the labels are what the original reads."""
    import onnxruntime

    shutil.copy(packages / "captcha_whisperer" / "models" / "captcha_crnn.onnx", folder / "model.onnx")
    (folder / "captcha_whisperer_metric.py").write_text(METRIC)
    pictures = drawn(packages)
    session = onnxruntime.InferenceSession(folder / "model.onnx", providers=["CPUExecutionProvider"])
    scope: dict[str, object] = {}
    exec(METRIC, scope)  # the labels are made by the rule that they are scored by
    read = scope["texts"]
    labels = np.full((len(pictures), 20), -1)
    for row, picture in zip(labels, pictures, strict=True):
        (text,) = read(session.run(None, {"image": picture[None]})[0])  # type: ignore[operator]
        row[: len(text)] = text
    subject.parts(folder, {"image": pictures, "labels": labels}, 48, 200)
    subject.project(folder, "captcha_whisperer_metric:same_text")


def drawn(packages: Path) -> np.ndarray:
    """(n, 3, 60, 160) float32, blue first, 0 to 255, as the package feeds its model."""
    sys.path.append(str(packages))
    try:
        from captcha import image as painter
    finally:
        sys.path.remove(str(packages))
    chance = random.Random(0)
    seeded = mock.Mock(randbelow=lambda n: chance.randrange(n), choice=chance.choice,
                       randbits=chance.getrandbits)  # fmt: skip
    pictures = []
    with mock.patch.object(painter, "secrets", seeded):
        easel = painter.ImageCaptcha(160, 60)
        for _ in range(COUNT):
            text = "".join(chance.choices("123456789ABCDEFGHJKLMNPQRSTUVWXYZ", k=chance.choice([4, 5])))
            picture = np.asarray(easel.generate_image(text).convert("RGB").resize((160, 60)), np.float32)
            pictures.append(picture[:, :, ::-1].transpose(2, 0, 1))
    return np.array(pictures)
