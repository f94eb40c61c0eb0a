from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import onnx.parser

from tests.cli.conftest import Ran

MODEL = """
<ir_version: 8, opset_import: ["" : 17]>
net (float[1, 3] x) => (float[1, 3] y) { y = Softmax(x) }
"""


def test_ten_samples_are_shown_with_the_models_answers(run: Callable[..., Ran], folder: Path) -> None:
    (folder / "net.onnx").write_bytes(onnx.parser.parse_model(MODEL).SerializeToString())
    labels = np.arange(20) % 3
    np.savez(folder / "d.npz", x=np.eye(3, dtype=np.float32)[labels], labels=labels)
    document = run("data", "check", "net.onnx", "--data", "d.npz", "--json").document
    assert (document["samples"], len(document["rows"])) == (20, 10)
    assert all(row["answer"] == row["label"] for row in document["rows"])
    shown = run("data", "check", "net.onnx", "--data", "d.npz").out
    assert "20 samples with labels" in " ".join(shown.split())  # a long path wraps the line


def test_without_data_it_says_what_to_give(run: Callable[..., Ran], folder: Path) -> None:
    (folder / "net.onnx").write_bytes(onnx.parser.parse_model(MODEL).SerializeToString())
    ran = run("data", "check", "net.onnx")
    assert (ran.code, "--data" in ran.err) == (2, True)
