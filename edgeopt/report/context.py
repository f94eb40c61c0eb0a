"""What a report needs beside the result document: kept in `best.json`, so that it can be written again."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from edgeopt.core.conditions import Setting
from edgeopt.core.errors import ConfigError
from edgeopt.core.objective import Limits, MaxDrop, Objective
from edgeopt.core.region import Region

FILE_NAME = "best.json"
KEPT_SAMPLES = 400


@dataclass(frozen=True, slots=True)
class ReportContext:
    """Facts about a study that its result document does not carry.

    Attributes:
        command: What reproduces it.
        created: When it ended, ISO 8601.
        objective: What was asked for.
        metric: Name of the accuracy metric; None without data.
        original_score: Of the original on the search part; None without data.
        regions: Name and operators of each region, in topological order.
        samples: Latencies in ms of the final stage by name of the participant: enough for their
            distribution, see `thin`.
        worse: What is worse than the original's, in words.
        board_facts: Name and value of what the board said of itself.
        protocol: How it was measured, in sentences.
        versions: Of what took part, by name.
        notes: What happened on the way: pauses, new epochs, drift.
    """

    command: str
    created: str
    objective: Objective = field(default_factory=Objective)
    metric: str | None = None
    original_score: float | None = None
    regions: tuple[tuple[str, str], ...] = ()
    samples: Mapping[str, tuple[float, ...]] = field(default_factory=dict)
    worse: tuple[str, ...] = ()
    board_facts: Mapping[str, str] = field(default_factory=dict)
    protocol: tuple[str, ...] = ()
    versions: Mapping[str, str] = field(default_factory=dict)
    notes: tuple[str, ...] = ()

    def to_json(self) -> dict[str, Any]:
        """As JSON-able values."""
        return asdict(self)

    @classmethod
    def from_json(cls, fields: Mapping[str, Any]) -> ReportContext:
        """The inverse of `to_json`."""
        goal = fields["objective"]
        known = dict(fields) | {
            "objective": Objective(
                goal["name"],
                MaxDrop(**goal["max_drop"]),
                Limits(**goal["limits"]),
                Setting.from_json(goal["conditions"]),
                tuple(goal.get("allow_worse", ())),
            ),
            "regions": tuple((name, operators) for name, operators in fields["regions"]),
            "samples": {name: tuple(values) for name, values in fields["samples"].items()},
        }
        for name in ("worse", "protocol", "notes"):
            known[name] = tuple(fields[name])
        return cls(**known)


def described(regions: Sequence[Region]) -> tuple[tuple[str, str], ...]:
    """Name and operators of each region, as `ReportContext.regions` wants them."""
    return tuple((region.name, ", ".join(dict.fromkeys(region.op_types))) for region in regions)


def thin(latencies_ms: Sequence[float], kept: int = KEPT_SAMPLES) -> tuple[float, ...]:
    """At most `kept` values with the same distribution: evenly spaced quantiles, the ends included."""
    ordered = sorted(latencies_ms)
    if len(ordered) > kept:
        ordered = [ordered[round(i * (len(ordered) - 1) / (kept - 1))] for i in range(kept)]
    return tuple(float(f"{value:.5g}") for value in ordered)


WINNER = ("decisions", "session_options", "interface")
"""Of the best trial, repeated at the top of `best.json`: what a program that builds or runs it looks for."""


@dataclass(frozen=True, slots=True)
class Evidence:
    """What `best.json` holds: the result and the context it is to be read in."""

    document: dict[str, Any]
    context: ReportContext

    def to_json(self) -> str:
        """The text of `best.json`: the result document, the winner's decisions, and `context`."""
        best = self.document.get("best") or {}
        winner = {name: best.get(name) for name in WINNER}
        return json.dumps(winner | self.document | {"context": self.context.to_json()}, indent=1) + "\n"


def read_evidence(folder: Path) -> Evidence:
    """Read the `best.json` of a study's folder.

    Raises:
        ConfigError: There is none, or it is not one of edgeopt's.
    """
    path = folder / FILE_NAME
    if not path.is_file():
        hint = (
            "the study has not ended yet: repeat edgeopt optimize"
            if folder.is_dir()
            else "name the -o folder"
        )
        raise ConfigError(f"no {FILE_NAME} in {folder}", hint=hint)
    try:
        body = json.loads(path.read_text(encoding="utf-8"))
        context = ReportContext.from_json(body.pop("context"))
        return Evidence(body, context)
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise ConfigError(f"{path} is not a result of edgeopt: {type(error).__name__} {error}") from error
