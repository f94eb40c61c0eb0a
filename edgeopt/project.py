"""The project file `edgeopt.toml`: what the flags would say, kept beside the model."""

from __future__ import annotations

import tomllib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from edgeopt.core.errors import ConfigError

FILE_NAME = "edgeopt.toml"

TEXT: tuple[type, ...] = (str,)
NUMBER: tuple[type, ...] = (int, float)
WHOLE: tuple[type, ...] = (int,)
SWITCH: tuple[type, ...] = (bool,)
TABLE: tuple[type, ...] = (dict,)
NAMES: tuple[type, ...] = (list,)

KEYS: Mapping[str, Mapping[str, tuple[type, ...]]] = {
    "model": {
        "path": TEXT, "shape": TABLE, "fixed": TABLE, "batch": WHOLE, "batch_axis": WHOLE, "state": TABLE,
        "allow_interface": NAMES,
    },
    "data": {
        "path": TEXT, "calibration": TEXT, "confirm": TEXT, "metric": TEXT, "max_drop": TEXT + NUMBER,
        "preprocess": TABLE,
    },
    "objective": {
        "name": TEXT, "conditions": TEXT, "rate": NUMBER, "load": TEXT + NUMBER,
        "max_latency": NUMBER, "max_p95": NUMBER, "max_power": NUMBER,
        "max_memory": TEXT + NUMBER, "max_size": TEXT + NUMBER, "max_cold_start": NUMBER,
        "min_utilization": TEXT + NUMBER, "allow_modelled_energy": SWITCH, "allow_worse": NAMES,
    },
    "search": {
        "budget": TEXT + WHOLE, "effort": TEXT, "sampler": TEXT, "policy": TEXT, "runtime": TEXT,
        "threads": WHOLE,
        "seed": WHOLE, "output": TEXT, "allow_unverified": SWITCH, "structure": SWITCH,
        "recover_budget": TEXT,
    },
    "board": {"device": TEXT, "board": TEXT, "require": TEXT, "wait": TEXT, "cpus": TEXT},
}  # fmt: skip
"""What may stand in the file, and of which type."""

POLICIES = ("scratch", "pretrained")
"""Names that `policy` knows; any other is the path of a file."""

_PATHS = {("model", "path"), ("search", "output")}
_SOURCES = {("data", "path"), ("data", "calibration"), ("data", "confirm")}


@dataclass(frozen=True, slots=True)
class Project:
    """A project file that was read and checked.

    Attributes:
        path: Absolute path of the file.
        values: By section and key; files and folders as absolute paths.
    """

    path: Path
    values: Mapping[tuple[str, str], Any]

    def get(self, section: str, key: str) -> Any:
        """The value; None where the file does not say it."""
        return self.values.get((section, key))

    @classmethod
    def read(cls, path: Path) -> Project:
        """Parse and check a project file.

        Raises:
            ConfigError: Unreadable, not TOML, or a section, key or type that edgeopt does not know.
        """
        path = path.absolute()
        try:
            raw = tomllib.loads(path.read_text(encoding="utf-8"))
        except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
            raise ConfigError(f"cannot read {path}: {error}") from error
        values: dict[tuple[str, str], Any] = {}
        for section, body in raw.items():
            if section not in KEYS:
                raise ConfigError(f"{path}: unknown section [{section}]", hint=f"known: {', '.join(KEYS)}")
            if not isinstance(body, dict):
                raise ConfigError(f"{path}: [{section}] must be a section, not a value")
            for key, value in body.items():
                _check(path, section, key, value)
                values[section, key] = _resolved(path.parent, section, key, value)
        return cls(path, values)

    @classmethod
    def find(cls, folder: Path) -> Project | None:
        """The project of a folder; None if it has no `edgeopt.toml`.

        Raises:
            ConfigError: As `read`.
        """
        path = folder / FILE_NAME
        return cls.read(path) if path.exists() else None


def source(text: str, folder: Path) -> str:
    """A data source with an absolute path; `module:function` stays as it is.

    Raises:
        ConfigError: Neither a file or folder that exists, nor `module:function`.
    """
    path = folder / Path(text).expanduser()
    if path.exists():
        return str(path.absolute())
    module, colon, function = text.partition(":")
    if colon and function.isidentifier() and all(part.isidentifier() for part in module.split(".")):
        return text
    raise ConfigError(
        f"no such file or folder: {path}",
        hint="data is an .npz, a folder of images or WAVs, or module:function",
    )


def _check(path: Path, section: str, key: str, value: object) -> None:
    known = KEYS[section]
    if key not in known:
        raise ConfigError(
            f"{path}: unknown key {key!r} in [{section}]", hint=f"known there: {', '.join(known)}"
        )
    # bool is an int to Python, but `threads = true` is a slip.
    wrong_item = isinstance(value, list) and not all(isinstance(item, str) for item in value)
    slip = isinstance(value, bool) and bool not in known[key]
    if not isinstance(value, known[key]) or slip or wrong_item:
        names = {
            str: "a text",
            int: "a whole number",
            float: "a number",
            bool: "true or false",
            dict: "a table",
            list: "a list of texts",
        }
        wanted = " or ".join(dict.fromkeys(names[kind] for kind in known[key]))
        raise ConfigError(f"{path}: {key} in [{section}] must be {wanted}, not {value!r}")


def _resolved(folder: Path, section: str, key: str, value: Any) -> Any:
    if (section, key) in _PATHS or ((section, key) == ("search", "policy") and value not in POLICIES):
        return str((folder / Path(value).expanduser()).absolute())
    return source(value, folder) if (section, key) in _SOURCES else value
