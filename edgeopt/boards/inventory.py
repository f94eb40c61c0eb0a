"""The boards that the user has named: `boards.toml` in the working folder, then in `$EDGEOPT_HOME`.

[board.kitchen-pi]
device = "rpi4"
url = "ssh://pi@10.0.0.7"
python = "/home/pi/venv/bin/python"     # optional
identity = "~/.ssh/board"               # optional
model = "Radxa ROCK 5B"                 # optional: what it is, where a container hides its device tree
power_cycle = "uhubctl -l 1-1 -a cycle" # optional: a command of this machine, for when the board is silent
groups = ["kitchens", "canaries"]       # optional: names that `edgeopt deploy --group` takes
field_root = "/data/edgeopt"            # optional: where packages are installed on it

[board.kitchen-pi.meter]                # optional, see edgeopt/boards/metering/settings.py
kind = "pmic"
"""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
import re
import tomllib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from edgeopt.boards import places
from edgeopt.boards.address import Address
from edgeopt.boards.metering.settings import of_table
from edgeopt.boards.meters import Settings
from edgeopt.core.errors import ConfigError
from edgeopt.core.files import write_atomically

FILE_NAME = "boards.toml"
RESERVED = ("local", "virtual", "predicted")


@dataclass(frozen=True, slots=True)
class NamedBoard:
    """One entry.

    Attributes:
        device: Name of its device profile.
        model: What it is, where a container hides its device tree.
        power_cycle: Command of this machine that takes the board's power away and gives it back.
        source: The file that it stands in.
        meter: `[board.NAME.meter]`.
        groups: Names under which it is deployed to together with others.
        field_root: Folder on it in which packages are installed; None: the default one.
    """

    name: str
    device: str
    url: str
    python: str | None = None
    identity: str | None = None
    model: str | None = None
    power_cycle: str | None = None
    source: Path | None = None
    meter: Settings | None = None
    groups: tuple[str, ...] = ()
    field_root: str | None = None

    @property
    def address(self) -> Address:
        return Address.parse(self.url).using(self.python, self.identity, model=self.model)


@dataclass(frozen=True, slots=True)
class Inventory:
    """All named boards; the working folder's win over the user's."""

    boards: Mapping[str, NamedBoard]

    @classmethod
    def load(cls, folder: Path | None = None) -> Inventory:
        """Read both files, where they exist.

        Args:
            folder: The project's; by default the working folder.

        Raises:
            ConfigError: A file is not TOML, or an entry is incomplete or has an unknown key.
        """
        files = (user_file(), project_file(folder))
        boards: dict[str, NamedBoard] = {}
        for file in files:
            boards |= _read(file) if file.is_file() else {}
        return cls(boards)

    def of_device(self, device: str) -> list[NamedBoard]:
        """The boards of one kind, in the order in which they were written."""
        return [board for board in self.boards.values() if board.device == device]

    def of_group(self, group: str) -> list[NamedBoard]:
        """The boards of a group, in the order in which they were written.

        Raises:
            ConfigError: No board is in it; the hint lists the groups there are.
        """
        if found := [board for board in self.boards.values() if group in board.groups]:
            return found
        known = sorted({name for board in self.boards.values() for name in board.groups})
        raise ConfigError(
            f"no board of boards.toml is in the group {group!r}",
            hint=f"known: {', '.join(known)}" if known else f'groups = ["{group}"] in a [board.NAME]',
        )

    def address_of(self, host: str) -> Address:
        """Of an address, or of a board by its name.

        Raises:
            ConfigError: It is neither.
        """
        return Address.parse(host) if "://" in host or host == "local" else self.get(host).address

    def get(self, name: str) -> NamedBoard:
        """One board by name.

        Raises:
            ConfigError: There is none of that name; the hint lists those there are.
        """
        if name not in self.boards:
            known = ", ".join([*RESERVED, *self.boards])
            raise ConfigError(f"unknown board {name!r}", hint=f"known: {known}; or ssh://user@host:port")
        return self.boards[name]


def user_file() -> Path:
    """The user's own, for all folders."""
    return places.home() / FILE_NAME


def project_file(folder: Path | None = None) -> Path:
    """A project's, by default the working folder's."""
    return (folder or Path.cwd()) / FILE_NAME


def add(board: NamedBoard, file: Path | None = None) -> Path:
    """Append a board to a file, by default the user's; returns the file. What else it says stays as it is.

    Raises:
        ConfigError: The name is taken or not one, the working folder's file would hide it, or the address
            makes no sense.
        EdgeoptError: The file cannot be written.
    """
    file = file or user_file()
    _check(board, str(file))
    with _alone(file):
        if file.is_file() and board.name in _read(file):
            raise ConfigError(
                f"{file} has a board {board.name!r} already",
                hint=f"edgeopt boards remove {board.name}, or choose another name",
            )
        hiding = project_file()
        if file != hiding and hiding.is_file() and board.name in _read(hiding):
            raise ConfigError(
                f"{hiding} has a board {board.name!r}, which would hide this one",
                hint="choose another name, or --project to change that file",
            )
        fields = {
            "device": board.device,
            "url": board.url,
            "python": board.python,
            "identity": board.identity,
            "model": board.model,
            "groups": list(board.groups),
            "field_root": board.field_root,
        }
        lines = [f"{key} = {json.dumps(value, ensure_ascii=False)}" for key, value in fields.items() if value]
        before = file.read_text(encoding="utf-8").rstrip() + "\n\n" if file.is_file() else ""
        entry = "\n".join([f'[board."{board.name}"]', *lines]) + "\n"
        write_atomically(file, (before.lstrip() + entry).encode())
    return file


def remove(board: NamedBoard) -> Path:
    """Take a board, with its sub-tables, out of the file that it stands in; returns the file.

    Raises:
        ConfigError: It is written in a way that only its author should change (inline, or with dotted keys).
        EdgeoptError: The file cannot be written.
    """
    if board.source is None:
        raise ConfigError(f"board {board.name!r} stands in no file")
    with _alone(board.source):
        text = board.source.read_text(encoding="utf-8")
        rest = _without(text, board.name)
        boards = tomllib.loads(text).get("board", {})
        boards.pop(board.name, None)
        if tomllib.loads(rest).get("board", {}) != boards:
            raise ConfigError(f"cannot take board {board.name!r} out of {board.source}", hint="edit the file")
        write_atomically(board.source, rest.encode())
    return board.source


def _without(text: str, name: str) -> str:
    """The text without a board's tables. Comments go with the table above them."""
    header = re.compile(rf'\s*\[\s*board\s*\.\s*["\']?{re.escape(name)}["\']?\s*(\.[^]]*)?\]')
    kept, ours = [], False
    for row in text.splitlines(keepends=True):
        if re.match(r"\s*\[", row):
            ours = header.match(row) is not None
        kept += [] if ours else [row]
    return "".join(kept)


@contextlib.contextmanager
def _alone(file: Path) -> Iterator[None]:
    """Nobody else changes a file of this folder meanwhile: two that add a board must not lose one."""
    file.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    descriptor = os.open(file.parent, os.O_RDONLY)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX)
        yield
    finally:
        os.close(descriptor)


def _read(file: Path) -> dict[str, NamedBoard]:
    try:
        raw = tomllib.loads(file.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
        raise ConfigError(f"cannot read {file}: {error}") from error
    boards = raw.pop("board", {})
    if raw or not isinstance(boards, dict):
        raise ConfigError(f"{file} holds nothing but [board.NAME] tables")
    return {name: _entry(name, fields, file) for name, fields in boards.items()}


def _entry(name: str, fields: Any, file: Path) -> NamedBoard:
    keys = {"device", "url", "python", "identity", "model", "power_cycle", "meter", "groups", "field_root"}
    given = set(fields) if isinstance(fields, dict) else set()
    if not {"device", "url"} <= given <= keys:
        wrong = [f"has no {key}" for key in sorted({"device", "url"} - given)]
        wrong += [f"has an unknown key {key!r}" for key in sorted(given - keys)]
        may = ", ".join(sorted(keys - {"device", "url"}))
        raise ConfigError(
            f"{file}: board {name!r} {' and '.join(wrong)}",
            hint=f"a board needs device and url, and may have {may}",
        )
    fields = dict(fields)
    table = fields.pop("meter", None)
    meter = None if table is None else of_table(table, f"{file}: board {name!r}")
    groups = fields.pop("groups", [])
    if not isinstance(groups, list) or not all(isinstance(group, str) and group for group in groups):
        raise ConfigError(f"{file}: board {name!r}: groups must be a list of names")
    if wrong := sorted(key for key, value in fields.items() if not isinstance(value, str)):
        raise ConfigError(f"{file}: board {name!r}: {wrong[0]} must be text")
    board = NamedBoard(name, source=file, meter=meter, groups=tuple(groups), **fields)
    _check(board, str(file))
    return board


def _check(board: NamedBoard, where: str) -> None:
    if board.name in RESERVED or not re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9._-]*", board.name):
        raise ConfigError(
            f"{where}: {board.name!r} cannot be the name of a board",
            hint="a letter or digit of ASCII, then letters, digits, '.', '_' and '-'; "
            f"and not {', '.join(RESERVED)}",
        )
    try:
        board.address  # noqa: B018 - raises where it makes no sense
    except ConfigError as error:
        raise ConfigError(f"{where}: board {board.name!r}: {error.message}", error.hint) from error
