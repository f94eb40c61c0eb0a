"""A model with its data, laid out in a folder as a project of edgeopt's: what every tool is given."""

from __future__ import annotations

import importlib
import json
import shutil
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

REPOSITORY = Path(__file__).resolve().parents[2]
EXAMPLES = ("cnn", "rnn", "fnn", "transformer")
"""The repository's own, each a project already."""
MADE = tuple(sorted(path.stem for path in (Path(__file__).parent / "subjects").glob("[a-z]*.py")))
"""Real models from packages: a module each, whose `make(packages, folder)` lays the project out."""
NAMES = (*MADE, *EXAMPLES)

Arrays = Mapping[str, NDArray[Any]]


def make(name: str, packages: Path, folder: Path) -> str:
    """Lay a subject out in `folder`, anew.

    Returns:
        What its score is of, in a few words.
    """
    shutil.rmtree(folder, ignore_errors=True)
    if name in EXAMPLES:
        shutil.copytree(REPOSITORY / "examples" / name, folder)
        return "labels of its bundled data (top1)"
    folder.mkdir(parents=True)
    module = importlib.import_module(f"benchmarks.rivals.subjects.{name}")
    build: Callable[[Path, Path], None] = module.make
    build(packages, folder)
    told: str = module.SCORED_ON
    return told


def project(
    folder: Path,
    metric: str,
    *,
    shape: Mapping[str, list[int]] | None = None,
    fixed: Mapping[str, object] | None = None,
) -> None:
    """Write `edgeopt.toml` beside `model.onnx` and the three parts."""
    lines = ["[model]", "path = 'model.onnx'"]
    for key, values in (("shape", shape), ("fixed", fixed)):
        if values:
            said = ", ".join(f"{json.dumps(name)} = {json.dumps(value)}" for name, value in values.items())
            lines.append(f"{key} = {{ {said} }}")
    lines += [
        "[data]", "path = 'search.npz'", "calibration = 'calibration.npz'", "confirm = 'confirm.npz'",
        f"metric = '{metric}'", "max_drop = '1%'", "[board]", "device = 'local'",
    ]  # fmt: skip
    (folder / "edgeopt.toml").write_text("\n".join(lines) + "\n")


def parts(folder: Path, arrays: Arrays, calibration: int, search: int, seed: int = 0) -> None:
    """Split samples at random: so many to calibrate on, so many to search with, the rest to confirm."""
    order = np.random.default_rng(seed).permutation(len(next(iter(arrays.values()))))
    cuts = np.split(order, [calibration, calibration + search])
    for part, rows in zip(("calibration", "search", "confirm"), cuts, strict=True):
        np.savez(folder / f"{part}.npz", **{name: value[rows] for name, value in arrays.items()})
