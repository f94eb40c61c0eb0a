"""What a command answers with: one document for machines, and the same for people."""

from __future__ import annotations

import json
import math
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from rich.console import RenderableType


@dataclass(frozen=True, slots=True)
class Answer:
    """Returned by every command; `edgeopt.cli.main` prints one of its two forms on stdout.

    Attributes:
        document: JSON-able, of the shape that the command's contract says.
        text: What to show a person, a string as it stands; called only where a person is shown something.
        exit_code: 0 unless the command says otherwise.
    """

    document: dict[str, Any]
    text: Callable[[], RenderableType]
    exit_code: int = 0

    def to_json(self) -> str:
        """The document as strict JSON: a number that is not finite is unknown, hence `null`."""
        return json.dumps(_strict(self.document), indent=2, ensure_ascii=False, allow_nan=False)


def _strict(value: Any) -> Any:
    if isinstance(value, dict):
        return {str(key): _strict(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [_strict(item) for item in value]
    if isinstance(value, float) and not math.isfinite(value):
        return None
    return str(value) if isinstance(value, Path) else value
