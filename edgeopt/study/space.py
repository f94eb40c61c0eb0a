"""The search space of a study, kept beside its trials: to explain them without the model."""

from __future__ import annotations

import json
from dataclasses import asdict, fields
from pathlib import Path
from typing import Any

from edgeopt.core.errors import StudyError
from edgeopt.core.files import write_atomically
from edgeopt.core.region import Region
from edgeopt.core.space import DecisionPoint, SearchSpace

NAME = "space.json"
TUPLES = tuple(field.name for field in fields(Region) if str(field.type).startswith("tuple"))


def save(folder: Path, space: SearchSpace) -> None:
    """Write the space into a study's folder, once: a study never changes its space.

    Raises:
        EdgeoptError: The disk is full or not writable.
    """
    if not (folder / NAME).exists():
        write_atomically(folder / NAME, json.dumps(as_json(space), separators=(",", ":")).encode())


def as_json(space: SearchSpace) -> dict[str, object]:
    """As JSON-able values."""
    return {
        "model": space.model_digest,
        "points": [asdict(point) for point in space.points],
        "regions": [asdict(region) for region in space.regions],
    }


def load(folder: Path) -> SearchSpace:
    """The space of the study in a folder.

    Raises:
        StudyError: It is not there, or damaged.
    """
    path = folder / NAME
    hint = "repeat its edgeopt optimize command: it resumes, and writes the file"
    if not path.is_file():
        raise StudyError(f"the study in {folder} does not hold its search space ({NAME})", hint=hint)
    try:
        found = json.loads(path.read_bytes())
        return SearchSpace(
            found["model"],
            tuple(map(_point, found["points"])),
            tuple(Region(**_with_tuples(region)) for region in found["regions"]),
        )
    except (ValueError, KeyError, TypeError) as error:
        raise StudyError(f"{path} is damaged", hint=f"delete it, then {hint}") from error


def _point(fields: dict[str, Any]) -> DecisionPoint:
    only = tuple((runtime, tuple(options)) for runtime, options in fields.get("only", ()))
    return DecisionPoint(fields["site"], tuple(fields["options"]), fields["default"], only)


def _with_tuples(fields: dict[str, Any]) -> dict[str, Any]:
    return {name: tuple(value) if name in TUPLES else value for name, value in fields.items()}
