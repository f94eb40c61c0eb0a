"""The gate of `edgeopt measure --against FILE --fail-if CONDITION`: what CI asks, and its exit code."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from edgeopt.report import regression
from edgeopt.report.earlier import Earlier
from edgeopt.report.regression import Condition

if TYPE_CHECKING:
    from rich.console import RenderableType

    from edgeopt.boards.board import Board
    from edgeopt.core.artifact import Artifact
    from edgeopt.core.conditions import Setting

EXIT_CODES: Mapping[regression.Verdict, int] = {"worse": 7, "undecided": 4, "no worse": 0}


@dataclass(frozen=True, slots=True)
class Gate:
    """What to compare with, and what must not have grown."""

    earlier: Earlier
    conditions: Sequence[Condition]

    @classmethod
    def of(cls, against: Path, fail_if: Sequence[str]) -> Gate:
        """Read both.

        Raises:
            ConfigError: One cannot be understood.
        """
        return cls(Earlier.read(against), [Condition.parse(text) for text in fail_if])

    def before_connecting(self, names: Sequence[str], device: str, setting: Setting) -> None:
        """Refuse what cannot be compared, before any board time is spent.

        Raises:
            ConfigError: Another device, other conditions, or models or figures that the file does not have.
        """
        self.earlier.require_device(Path(device).stem if device.endswith(".toml") else device)
        self.earlier.require_setting(setting)
        self.earlier.require_names(names)
        self.earlier.require_figures(names, self.conditions)

    def before_measuring(self, board: Board, artifacts: Mapping[str, Artifact]) -> None:
        """Refuse it once a board is open.

        Raises:
            ConfigError: Another provenance, or models that are run in another way.
        """
        self.earlier.require_board(board.provenance, artifacts)

    def judge(self, document: dict[str, Any]) -> int:
        """Put the verdict into the document of `measure`; returns the exit code.

        Raises:
            ConfigError: It was measured in other conditions, or its energy by something else.
        """
        self.earlier.require_alike(document, self.conditions)
        checks = regression.judge(document, self.earlier.document, self.conditions)
        verdict = regression.overall(checks)
        document["gate"] = {
            "against": str(self.earlier.path.absolute()),
            "verdict": verdict,
            "checks": [check.document() for check in checks],
            "notes": self.earlier.notes(document),
        }
        document["regressions"] = [check.document() for check in checks if check.verdict == "worse"]
        if verdict == "undecided":
            # Exit code 4 promises an error to those who read no further.
            unsure = next(check for check in document["gate"]["checks"] if check["verdict"] == "undecided")
            document["error"] = {"kind": "undecided", "message": _explained(unsure), "hint": HINT}
        return EXIT_CODES[verdict]


HINT = "measure longer (--effort thorough, of both), allow more, or see what differs in the notes"


def shown(gate: Mapping[str, Any] | None) -> list[RenderableType]:
    """The verdict for people: what got worse first."""
    if gate is None:
        return []
    from rich.text import Text

    styles = {"worse": "red", "undecided": "yellow", "no worse": "green"}
    order = list(styles)
    checks = sorted(gate["checks"], key=lambda check: order.index(check["verdict"]))
    lines: list[RenderableType] = [Text(_explained(c), styles[c["verdict"]]) for c in checks]
    lines += [Text(f"note: {note}", "dim") for note in gate["notes"]]
    return [*lines, Text(HINT, "dim")] if gate["verdict"] == "undecided" else lines


def _explained(check: Mapping[str, Any]) -> str:
    from edgeopt.report.junit import explained

    return explained(check)
