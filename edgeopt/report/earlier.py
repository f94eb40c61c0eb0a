"""An earlier answer of `edgeopt measure --json`, and whether a new one may be compared with it.

Everything is checked before anything is measured. What makes two answers incomparable is refused; what may
explain a difference (another unit, another version of the runtime) is said.
"""

from __future__ import annotations

import json
import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from edgeopt.core.artifact import Artifact
from edgeopt.core.conditions import Setting
from edgeopt.core.errors import ConfigError
from edgeopt.report.regression import Condition, interval_of, value

SAME_KIND = "measure both in the same way, on the same kind of board"


@dataclass(frozen=True, slots=True)
class Earlier:
    """The document, and where it was read."""

    path: Path
    document: Mapping[str, Any]

    @classmethod
    def read(cls, path: Path) -> Earlier:
        """Read the answer of an earlier `edgeopt measure --json`.

        Raises:
            ConfigError: Unreadable, or something else.
        """
        try:
            document = dict(json.loads(path.read_text(encoding="utf-8")))
            names = [row["name"] for row in document["measurements"]]
            known = len(set(names))
            document["device"], document["provenance"]
        except (OSError, ValueError, KeyError, TypeError, RecursionError) as error:
            raise ConfigError(
                f"{path} is not the answer of edgeopt measure --json: {type(error).__name__} {error}",
                hint=f"edgeopt measure MODEL… --json > {path}",
            ) from error
        if known != len(names):
            raise ConfigError(f"{path} has two measurements of one name")
        return cls(path, document)

    def row(self, name: str) -> Mapping[str, Any]:
        return next(row for row in self.document["measurements"] if row["name"] == name)

    def require_names(self, names: Iterable[str]) -> None:
        """Check that every model was measured before: one that was not would pass unseen.

        Raises:
            ConfigError: Naming those that were not, and those that were.
        """
        known = [row["name"] for row in self.document["measurements"]]
        if missing := [name for name in names if name not in known]:
            raise ConfigError(
                f"{self.path} knows nothing of {', '.join(missing)}",
                hint=f"models are matched by name; it has {', '.join(known) or 'none'}",
            )

    def require_figures(self, names: Iterable[str], conditions: Sequence[Condition]) -> None:
        """Check that the file has what is to be judged.

        Raises:
            ConfigError: It does not: then nothing that is measured now could be compared with it.
        """
        for name in names:
            for condition in conditions:
                if not _is_sound(self.row(name), condition.figure):
                    raise ConfigError(
                        f"{self.path} is damaged: the {condition.figure} of {name}, its interval or its "
                        "number of processes is none that edgeopt has written",
                        hint=f"edgeopt measure MODEL… --json > {self.path}",
                    )
                if not value(self.row(name), condition.figure):
                    raise ConfigError(
                        f"{self.path} does not know the {condition.figure} of {name}",
                        hint="percentiles need many samples, and figures of a model have none: "
                        "measure it again with --effort normal, on a board",
                    )

    def require_device(self, device: str) -> None:
        """Check that it is of the same kind of board.

        Raises:
            ConfigError: It is of another.
        """
        self._same("device", self.document["device"], device)

    def require_setting(self, setting: Setting) -> None:
        """Check that it was measured at the same rate, under the same load, on the same cores.

        An answer of before edgeopt wrote that down only tells the conditions' name: see `require_alike`.

        Raises:
            ConfigError: It was not.
        """
        if "setting" in self.document:
            self._same("the setting", self.document["setting"], str(setting))

    def require_board(self, provenance: str, artifacts: Mapping[str, Artifact]) -> None:
        """Check what is known once a board is open.

        Raises:
            ConfigError: Other provenance, or a model that was run in another way.
        """
        self._same("provenance", self.document["provenance"], provenance)
        for name, artifact in artifacts.items():
            old = self.row(name)
            self._same(f"the runtime of {name}", old.get("runtime"), artifact.runtime)
            options = dict(artifact.session_options)
            self._same(f"how {name} is run", old.get("session_options"), options)
            if old.get("provenance") and old["provenance"] != provenance:
                self._same(f"the provenance of {name}", old["provenance"], provenance)

    def require_alike(self, now: Mapping[str, Any], conditions: Sequence[Condition]) -> None:
        """Check what only the measurements tell: in which conditions, and by which meter.

        Raises:
            ConfigError: They differ.
        """
        for row in now["measurements"]:
            old = self.row(row["name"])
            if row.get("conditions") and old.get("conditions"):
                self._same(f"the conditions of {row['name']}", old["conditions"], row["conditions"])
            if any(c.figure in ("energy", "power") for c in conditions) and row.get("energy_source"):
                what = f"where the energy of {row['name']} comes from"
                self._same(what, old.get("energy_source"), row["energy_source"])

    def notes(self, now: Mapping[str, Any]) -> list[str]:
        """What else differs, and may be why figures do."""
        before = self.document
        found = []
        for what, key in (("board", "board"), ("effort", "effort")):
            if before.get(key) != now.get(key):
                found.append(f"{what}: {before.get(key) or 'unknown'} before, {now.get(key)} now")
        then, here = before.get("system") or {}, now.get("system") or {}
        for key in here:
            if then.get(key) != here[key]:
                found.append(f"{key}: {_said(then.get(key))} before, {_said(here[key])} now")
        return found

    def _same(self, what: str, before: object, now: object) -> None:
        if before != now:
            raise ConfigError(
                f"not comparable with {self.path}: {what} was {_said(before)}, is {_said(now)}",
                hint=SAME_KIND,
            )


def _is_sound(row: Mapping[str, Any], figure: str) -> bool:
    """Whether a figure, its interval and the number of processes are unknown or what they can be.

    A comparison with anything else (text, NaN, an interval the wrong way round) would still give a verdict.
    """
    try:
        low, high = interval_of(row, figure) or (0.0, 0.0)
        at, processes = value(row, figure) or 0.0, row.get("processes") or 0
        return low <= high and at >= 0 and all(map(math.isfinite, (at, low, high, processes)))
    except (AttributeError, TypeError, ValueError, OverflowError):
        return False


def _said(found: object) -> str:
    if found is None:
        return "unknown"
    if isinstance(found, Mapping):
        return ", ".join(f"{name} {one}" for name, one in sorted(found.items())) or "none"
    return str(found)
