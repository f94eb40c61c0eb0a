"""magika 1.0: which of 214 kinds a file is, from its first and last bytes. Apache-2.0, Google."""

from __future__ import annotations

import json
import shutil
import sysconfig
from pathlib import Path

import numpy as np

from benchmarks.rivals import subject

SCORED_ON = "labels: the kind that a file's suffix says (top1)"

SUFFIXES = {
    ".py": "python", ".toml": "toml", ".md": "markdown", ".json": "json", ".csv": "csv", ".html": "html",
    ".png": "png", ".npz": "npz", ".onnx": "onnx", ".so": "elf", ".yaml": "yaml", ".pyc": "pythonbytecode",
    ".js": "javascript", ".css": "css", ".svg": "svg", ".xml": "xml", ".c": "c", ".sh": "shell",
}  # fmt: skip
EACH = 90
"""Files of one kind at most."""


def features(path: Path, config: dict[str, int]) -> np.ndarray:
    """`beg_size` bytes from the start of the first block, stripped, and `end_size` from the end of the last,
    padded with `padding_token`: (2048,) int32.

    Source: the model's `config.min.json`, and magika's documentation of its features.
    """
    block, pad = config["block_size"], config["padding_token"]
    with path.open("rb") as stream:
        first = list(stream.read(block).lstrip()[: config["beg_size"]])
        stream.seek(max(0, path.stat().st_size - block))
        last = list(stream.read(block).rstrip()[-config["end_size"] :])
    first += [pad] * (config["beg_size"] - len(first))
    return np.array(first + [pad] * (config["end_size"] - len(last)) + last, np.int32)


def make(packages: Path, folder: Path) -> None:
    """Lay it out in `folder`; the files are those of this repository and of the installed packages."""
    source = packages / "magika" / "models" / "standard_v3_3"
    config = json.loads((source / "config.min.json").read_text())
    shutil.copy(source / "model.onnx", folder / "model.onnx")
    roots = [subject.REPOSITORY, packages, Path(sysconfig.get_path("purelib"))]
    rows, labels = [], []
    for suffix, label in SUFFIXES.items():
        found = sorted(path for root in roots for path in root.rglob(f"*{suffix}") if path.is_file())
        for path in found[:: max(1, len(found) // EACH)][:EACH]:
            if path.stat().st_size > 200:
                rows.append(features(path, config))
                labels.append(config["target_labels_space"].index(label))
    subject.parts(folder, {"bytes": np.array(rows), "labels": np.array(labels)}, 64, 250)
    subject.project(folder, "top1")
