"""What boards printed, or print by their documentation: the files of `data/probes`."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from edgeopt.boards.probes import read

FOLDER = Path(__file__).parent / "data" / "probes"


def outputs(board: str) -> dict[str, str]:
    return dict(json.loads((FOLDER / f"{board}.json").read_text())["outputs"])


def found(board: str, **changed: str) -> dict[str, Any]:
    """What is read of it, after some probes have printed something else."""
    return read(outputs(board) | changed)
