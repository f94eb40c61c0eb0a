"""Results of refits, in files: what was solved once is not solved again."""

from __future__ import annotations

import io
import zipfile
from pathlib import Path

import numpy as np

from edgeopt.core.files import write_atomically
from edgeopt.graph.structure._weights import Doubles

Solution = tuple[Doubles, Doubles]


class Kept:
    """Weights and shifts by the digest of all that they depend on.

    Args:
        folder: None keeps them in memory.
    """

    def __init__(self, folder: Path | None) -> None:
        self._folder = folder
        self._known: dict[str, Solution] = {}

    def get(self, key: str) -> Solution | None:
        """What was put under a key; None where nothing was, or the file is damaged."""
        if self._folder is None:
            return self._known.get(key)
        try:
            with np.load(self._path(self._folder, key)) as file:
                return file["values"].astype(np.float64), file["shift"].astype(np.float64)
        except FileNotFoundError:
            return None
        except (OSError, ValueError, EOFError, KeyError, zipfile.BadZipFile):
            return None  # solved again, and written anew

    def put(self, key: str, solution: Solution) -> Solution:
        """Keep a solution, as exact as weights are; what `get` gives from now on.

        Raises:
            EdgeoptError: Disk full, permission.
        """
        values, shift = (array.astype(np.float32) for array in solution)
        if self._folder is None:
            self._known[key] = values.astype(np.float64), shift.astype(np.float64)
        else:
            content = io.BytesIO()
            np.savez(content, values=values, shift=shift)
            write_atomically(self._path(self._folder, key), content.getvalue())
        return values.astype(np.float64), shift.astype(np.float64)

    @staticmethod
    def _path(folder: Path, key: str) -> Path:
        return folder / f"recovered-{key[:32]}.npz"
