"""Write what was prepared into a board's entry of boards.toml, and nothing else."""

from __future__ import annotations

import json
import re
import tomllib
from pathlib import Path
from urllib.parse import urlsplit, urlunsplit

from edgeopt.boards.address import Address
from edgeopt.boards.inventory import NamedBoard
from edgeopt.core.errors import ConfigError
from edgeopt.core.files import write_atomically


def write(board: NamedBoard, address: Address, python: str) -> Path:
    """Set the interpreter of a board, and its user where that is another now; returns the file.

    Comments, order and all other keys stay as they are.

    Raises:
        ConfigError: The entry is written in a way that cannot be edited line by line.
    """
    if board.source is None:
        raise ConfigError(f"{board.name} stands in no file", hint="edgeopt boards add")
    changed = {"python": python}
    if address.user != board.address.user and address.user:
        changed["url"] = _with_user(board.url, address.user)
    before = board.source.read_text(encoding="utf-8")
    after = edited(before, board.name, changed)
    if after != before:
        write_atomically(board.source, after.encode())
    return board.source


def edited(text: str, name: str, changed: dict[str, str]) -> str:
    """The text of a boards.toml in which the entry `name` has these values.

    Raises:
        ConfigError: It is written in a way that cannot be edited line by line.
    """
    wanted = tomllib.loads(text)
    wanted["board"][name] |= changed
    header = re.search(rf'(?m)^[ \t]*\[\s*board\s*\.\s*["\']?{re.escape(name)}["\']?\s*\][^\n]*$', text)
    if header:
        rest = text[header.end() :]
        end = re.search(r"(?m)^[ \t]*\[", rest)
        table, after = (rest[: end.start()], rest[end.start() :]) if end else (rest, "")
        for key, value in changed.items():
            line = f"{key} = {json.dumps(value, ensure_ascii=False)}"
            table, found = re.subn(rf"(?m)^[ \t]*{key}[ \t]*=.*$", lambda _, line=line: line, table)  # type: ignore[misc]
            table = table if found else f"\n{line}{table if table.startswith(chr(10)) else chr(10) + table}"
        result = text[: header.end()] + table + after
        try:
            if tomllib.loads(result) == wanted:
                return result
        except tomllib.TOMLDecodeError:
            pass
    lines = "; ".join(f"{key} = {json.dumps(value)}" for key, value in changed.items())
    raise ConfigError(f"cannot edit the entry of {name}", hint=f"write into it: {lines}")


def _with_user(url: str, user: str) -> str:
    parts = urlsplit(url)
    return urlunsplit(parts._replace(netloc=f"{user}@{parts.netloc.rpartition('@')[2]}"))
