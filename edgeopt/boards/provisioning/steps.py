"""The steps of provisioning. One is one file: its header says what it is, its functions what it does."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

from edgeopt.core.errors import ConfigError
from edgeopt.resources import resource

FOLDER = "firmware_scripts/provision"
FIELDS = ("title", "runs as", "asked for by", "without it")
SCOPES = ("root", "user")


@dataclass(frozen=True, slots=True)
class Step:
    """One thing that is prepared on a board.

    Attributes:
        name: What `--only` and `--skip` call it.
        scope: `root` or `user`: the privilege it needs.
        lost: What is missing without it.
        asked_for_by: The option without which it is left out; None: it belongs to every board.
        script: Its shell functions `NAME_check`, `NAME_do` and `NAME_undo`.
    """

    name: str
    title: str
    scope: str
    lost: str
    asked_for_by: str | None
    script: str

    @classmethod
    def read(cls, file: Path) -> Step:
        """A step from its file, whose first comment has a `# field: value` line for each of `FIELDS`.

        Raises:
            ConfigError: A field is missing or wrong: the installation is broken.
        """
        script = file.read_text(encoding="utf-8")
        found = {
            field: match[1].strip() if (match := re.search(rf"(?m)^# {field}: (.+)$", script)) else None
            for field in FIELDS
        }
        title, scope, asked_for_by, lost = (found[field] for field in FIELDS)
        if title is None or lost is None or scope not in SCOPES:
            raise ConfigError(f"{file} does not say what step it is", hint="install edgeopt again")
        return cls(file.stem, title, scope, lost, asked_for_by, script)


def all_steps() -> tuple[Step, ...]:
    """Every step that ships, in the order in which they run: those of root first, by name."""
    files = sorted(resource(FOLDER).glob("steps/*.sh"))
    return tuple(sorted((Step.read(file) for file in files), key=lambda step: SCOPES.index(step.scope)))


def choose(
    steps: Sequence[Step], only: Iterable[str] = (), skip: Iterable[str] = (), extra: Iterable[str] = ()
) -> tuple[Step, ...]:
    """The steps to run.

    Args:
        steps: Those there are.
        only: If any: just these.
        skip: Not these.
        extra: These too, although they have to be asked for.

    Raises:
        ConfigError: There is no step of a name, or none is left.
    """
    only, skip, extra = frozenset(only), frozenset(skip), frozenset(extra)
    known = {step.name for step in steps}
    if unknown := sorted((only | skip | extra) - known):
        raise ConfigError(f"unknown step {unknown[0]!r}", hint=f"known: {', '.join(sorted(known))}")
    usual = {step.name for step in steps if step.asked_for_by is None}
    wanted = (only or usual | extra) - skip
    if not wanted:
        raise ConfigError("no step is left to run", hint=f"known: {', '.join(sorted(known))}")
    return tuple(step for step in steps if step.name in wanted)
