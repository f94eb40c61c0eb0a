"""Which runtime can be installed on which board, as the package index had it: `wheels.toml`."""

from __future__ import annotations

import re
import tomllib
from collections.abc import Mapping
from functools import cache
from pathlib import Path

TABLE = Path(__file__).with_name("wheels.toml")
PACKAGES = {"onnxruntime": "onnxruntime", "litert": "ai-edge-litert"}
"""What a runtime's wheels are called."""


@cache
def table() -> Mapping[str, Mapping[str, Mapping[str, str]]]:
    """Machine -> Python (`3.11`) -> package -> its newest version with a wheel."""
    found: Mapping[str, Mapping[str, Mapping[str, str]]] = tomllib.loads(TABLE.read_text(encoding="utf-8"))
    return found


def missing(runtime: str, machine: str, python: str) -> str | None:
    """What to do where a runtime has no wheel for a board's Python; None where it has one, or nobody knows.

    Args:
        machine: The board's `uname -m`.
        python: Version of its Python (`3.13.1`).
    """
    known, package = table().get(machine), PACKAGES[runtime]
    short = re.match(r"\d+\.\d+", python)
    if known is None or short is None:
        return None
    with_wheel = [version for version, packages in known.items() if package in packages]
    if short[0] in with_wheel or short[0] not in known:
        return None
    if not with_wheel:
        return f"there is no {package} for {machine}: install the 64-bit image of its system"
    return f"there is no {package} for Python {short[0]} on {machine}: it needs {' or '.join(with_wheel)}"
