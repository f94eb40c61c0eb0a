"""Weights that were learnt from the original's outputs, in files: nothing is trained twice."""

from __future__ import annotations

import hashlib
import io
import json
import zipfile
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import onnx_ir as ir
from numpy.typing import NDArray

from edgeopt.core.errors import CandidateFailed
from edgeopt.core.files import write_atomically

FACTS = "facts"
"""Entry of a file with what is not an array; names of initializers stand in the others."""


@dataclass(frozen=True, slots=True)
class Learnt:
    """What came of a training.

    Attributes:
        weights: By initializer; empty where it made nothing better, or could not be done.
        facts: Losses, steps, seconds, as JSON; `refused` says why it could not be done.
    """

    weights: Mapping[str, NDArray[np.float32]]
    facts: Mapping[str, Any] = field(default_factory=dict)

    @property
    def is_better(self) -> bool:
        """Whether there is something to be used."""
        return bool(self.weights)

    @property
    def digest(self) -> str:
        """Of the weights."""
        found = hashlib.sha256()
        for name, array in sorted(self.weights.items()):
            found.update(name.encode() + b"\0" + np.ascontiguousarray(array).tobytes())
        return found.hexdigest()

    def put_into(self, model: ir.Model) -> None:
        """Replace the weights of a changed model.

        Raises:
            CandidateFailed: It is not the model that was trained.
        """
        for name, array in self.weights.items():
            value = model.graph.initializers.get(name)
            if value is None or value.const_value is None or value.const_value.shape.numpy() != array.shape:
                raise CandidateFailed(f"the distilled weights are of another model: {name} does not fit")
            value.const_value = ir.Tensor(array, name=name)


class LearntStore:
    """Results by the digest of all that they depend on.

    Args:
        folder: None keeps them in memory.
    """

    def __init__(self, folder: Path | None) -> None:
        self._folder = folder
        self._known: dict[str, Learnt] = {}

    def get(self, key: str) -> Learnt | None:
        """What was put under a key; None where nothing was, or the file is damaged."""
        if key not in self._known and self._folder is not None:
            try:
                content = io.BytesIO(self._path(self._folder, key).read_bytes())
                with np.load(content, allow_pickle=False) as file:
                    facts = json.loads(str(file[FACTS]))
                    self._known[key] = Learnt({n: file[n] for n in file.files if n != FACTS}, facts)
            except (OSError, ValueError, EOFError, KeyError, zipfile.BadZipFile):
                return None
        return self._known.get(key)

    def put(self, key: str, learnt: Learnt) -> None:
        """Keep a result: whole, or not at all.

        Raises:
            EdgeoptError: Disk full, permission.
        """
        if self._folder is not None:
            content = io.BytesIO()
            arrays = {name: np.asarray(array) for name, array in learnt.weights.items()}
            with zipfile.ZipFile(content, "w") as file:  # np.savez takes names as keywords: `file` is one
                for name, array in {**arrays, FACTS: np.array(json.dumps(dict(learnt.facts)))}.items():
                    with file.open(zipfile.ZipInfo(f"{name}.npy"), "w", force_zip64=True) as entry:
                        np.lib.format.write_array(entry, array, allow_pickle=False)
            self._folder.mkdir(parents=True, exist_ok=True)
            write_atomically(self._path(self._folder, key), content.getvalue())
        self._known[key] = learnt

    @staticmethod
    def _path(folder: Path, key: str) -> Path:
        return folder / f"{key[:32]}.npz"
