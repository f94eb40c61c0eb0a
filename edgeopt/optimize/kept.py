"""What a study was asked for, kept in it: enough to open its model and its data again on another board."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

from edgeopt.core.conditions import Setting
from edgeopt.core.errors import StudyError
from edgeopt.core.objective import Limits, MaxDrop, Objective
from edgeopt.options import BoardOptions, DataOptions, OptimizeOptions

NOTE = "options"
FIELDS = (
    "effort", "sampler", "policy", "threads", "seed", "structure", "allow_unverified",
    "allow_modelled_energy",
)  # fmt: skip
INTERFACE, STRUCTURE, RUNTIME = "allow_interface", "structure", "runtime"
"""Only noted where something is allowed: a study of an older edgeopt still resumes."""


def to_json(options: OptimizeOptions) -> dict[str, Any]:
    """As JSON-able values; budget and output folder are those of a run, not of a study."""
    data = asdict(options.data) | {"base": str(options.data.base)}
    fields = {
        "model": str(options.model),
        "device": options.board.device,
        "board": options.board.board,
        "data": data,
        "objective": asdict(options.objective),
        **{name: getattr(options, name) for name in FIELDS},
        **({STRUCTURE: True} if options.structure else {}),
        **({RUNTIME: options.runtime} if options.runtime != "onnxruntime" else {}),
        **({INTERFACE: list(options.allow_interface)} if options.allow_interface else {}),
    }
    plain: dict[str, Any] = json.loads(json.dumps(fields))  # equal to what is read back
    return plain


def from_json(fields: Mapping[str, Any] | None, output: Path) -> OptimizeOptions:
    """The inverse of `to_json`, to be continued in another folder.

    Raises:
        StudyError: The study does not say what it was asked for.
    """
    if fields is None:
        raise StudyError(
            f"the study in {output} does not say how it was made: an older edgeopt made it",
            hint="repeat its edgeopt optimize command: it resumes",
        )
    data, goal = fields["data"], fields["objective"]
    shapes = {name: tuple(sizes) for name, sizes in data["shapes"].items()}
    options = OptimizeOptions(
        model=Path(fields["model"]),
        output=output,
        board=BoardOptions(fields["device"], fields.get("board")),
        data=DataOptions(**(data | {"base": Path(data["base"]), "shapes": shapes})),
        objective=Objective(
            goal["name"],
            MaxDrop(**goal["max_drop"]),
            Limits(**goal["limits"]),
            Setting.from_json(goal["conditions"]),
            tuple(goal.get("allow_worse", ())),
        ),
    )
    allowed = tuple(fields.get(INTERFACE, ()))
    known = {name: fields[name] for name in (*FIELDS, STRUCTURE, RUNTIME) if name in fields}
    return replace(options, allow_interface=allowed, **known)
