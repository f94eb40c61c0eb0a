"""What turning back decisions was measured to change, kept in the study's folder: never measured again."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from edgeopt.core.candidate import Candidate
from edgeopt.core.errors import StudyError
from edgeopt.core.files import write_atomically
from edgeopt.core.quantity import Quantity
from edgeopt.study.store import ABLATIONS


@dataclass(frozen=True, slots=True)
class Ablated:
    """A winner's figures less those of another candidate, by figure (`latency`, `size`, `energy`, `drop`).

    Attributes:
        effects: What is not known is left out; an interval without ends is one of which nothing is known.
        reason: Why the other could not be built or run; None if it could.
    """

    effects: Mapping[str, Quantity] = field(default_factory=dict)
    reason: str | None = None


class Ablations:
    """All that was measured around winners of one study; each result is on disk before the next begins."""

    def __init__(self, folder: Path) -> None:
        """Read them.

        Raises:
            StudyError: The file is damaged.
        """
        self._path = folder / ABLATIONS
        self._known: dict[str, dict[str, Ablated]] = {}
        if not self._path.is_file():
            return
        try:
            found = json.loads(self._path.read_bytes())
            for winner, rows in found.items():
                self._known[winner] = {other: _from_json(row) for other, row in rows.items()}
        except (ValueError, KeyError, TypeError, AttributeError) as error:
            raise StudyError(f"{self._path} is damaged", hint="delete it: it is measured again") from error

    def get(self, winner: Candidate, other: Candidate) -> Ablated | None:
        """What was measured; None if nothing was."""
        return self._known.get(winner.key, {}).get(other.key)

    def keep(self, winner: Candidate, other: Candidate, ablated: Ablated) -> None:
        """Write it.

        Raises:
            EdgeoptError: The disk is full or not writable.
        """
        self._known.setdefault(winner.key, {})[other.key] = ablated
        plain = {
            winner_key: {key: _to_json(row) for key, row in rows.items()}
            for winner_key, rows in self._known.items()
        }
        write_atomically(self._path, (json.dumps(plain, indent=1, allow_nan=False) + "\n").encode())


def _to_json(ablated: Ablated) -> dict[str, Any]:
    effects = {}
    for figure, quantity in ablated.effects.items():
        plain = asdict(quantity)
        ends = {end: plain[end] if math.isfinite(plain[end]) else None for end in ("low", "high")}
        effects[figure] = plain | ends
    return {"effects": effects, "reason": ablated.reason}


def _from_json(row: dict[str, Any]) -> Ablated:
    effects = {}
    for figure, plain in row["effects"].items():
        low = -math.inf if plain["low"] is None else plain["low"]
        high = math.inf if plain["high"] is None else plain["high"]
        effects[figure] = Quantity(**(plain | {"low": low, "high": high}))
    return Ablated(effects, row["reason"])
