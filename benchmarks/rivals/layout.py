"""Where things are: everything that a comparison makes lies in one folder of the user's cache."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True, slots=True)
class Layout:
    """The folder of one comparison.

    Attributes:
        root: Kept between runs; safe to delete.
    """

    root: Path

    @classmethod
    def default(cls) -> Layout:
        """In the user's cache."""
        cache = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
        return cls(Path(cache) / "edgeopt" / "rivals")

    @property
    def python(self) -> Path:
        """Of the rivals' environment."""
        return self.root / "venv" / "bin" / "python"

    @property
    def packages(self) -> Path:
        """The unpacked packages that hold models and data, a folder each."""
        return self.root / "packages"

    def project(self, subject: str) -> Path:
        """`edgeopt.toml`, model, data."""
        return self.root / "work" / subject / "project"

    def feeds(self, subject: str) -> Path:
        """What every rival calibrates on: `.npz`, input by name, the first axis counts the samples."""
        return self.root / "work" / subject / "calibration.npz"

    def variant(self, subject: str, tool: str) -> Path:
        """What a tool made: `model.onnx`, or `failed.json` that says why not."""
        return self.root / "work" / subject / tool

    def optimized(self, subject: str, objective: str) -> Path:
        """What edgeopt made, with that objective."""
        return self.root / "work" / subject / f"edgeopt-{objective}"

    def compared(self, subject: str) -> Path:
        """Figures and scores of all variants."""
        return self.root / "work" / subject / "compared.json"
