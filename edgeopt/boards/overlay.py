"""What calibrating found, on top of the profile that ships: of one board, or of a virtual kind of board.

`$EDGEOPT_HOME/profiles/boards/<board>.toml` holds facts that were measured on one unit, and applies to it
alone; each says `measured = true`. `$EDGEOPT_HOME/profiles/devices/<device>.toml` holds factors of an
emulation that were fitted to a unit, and applies to every virtual board of that device. Both hold facts in
the form of a profile, and nothing but what was found: a newer profile beneath them is not hidden.
"""

from __future__ import annotations

import json
import tomllib
from collections.abc import Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any
from urllib.parse import quote

from edgeopt.boards.places import home
from edgeopt.core.errors import ConfigError
from edgeopt.core.files import write_atomically
from edgeopt.core.profile import DeviceProfile, Fact, facts_of

Facts = Mapping[str, Mapping[str, Fact]]


def board_file(board: str) -> Path:
    """Where the facts of one unit are kept; an address is as good a name as one of `boards.toml`."""
    return home() / "profiles" / "boards" / f"{quote(board, safe='@')}.toml"


def device_file(device: str) -> Path:
    """Where the fitted factors of a virtual kind of board are kept."""
    return home() / "profiles" / "devices" / f"{device}.toml"


def of_board(profile: DeviceProfile, board: str) -> DeviceProfile:
    """The profile with what was measured on one unit, if anything was.

    Raises:
        ConfigError: The file is malformed, or was measured when the board was another device.
    """
    return _merged(profile, board_file(board))


def of_device(profile: DeviceProfile) -> DeviceProfile:
    """The profile with what was fitted for its kind of board, if anything was.

    Raises:
        ConfigError: The file is malformed.
    """
    return _merged(profile, device_file(profile.name))


def write(path: Path, device: str, board: str, facts: Facts) -> None:
    """Keep what was found, wholly or not at all; facts that were found before and not now stay.

    Raises:
        EdgeoptError: It cannot be written.
    """
    try:
        known = dict(_read(path, device)) if path.is_file() else {}
    except ConfigError:
        known = {}  # of another device, or broken: what was found now replaces it
    for section, found in facts.items():
        known[section] = {**known.get(section, {}), **found}
    lines = [
        "# Written by edgeopt boards calibrate. Delete the file to forget it.",
        f"device = {json.dumps(device)}",
        f"board = {json.dumps(board)}",
    ]
    for section, found in known.items():
        lines += ["", f"[{section}]", *(f"{name} = {_written(fact)}" for name, fact in found.items())]
    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    write_atomically(path, ("\n".join(lines) + "\n").encode())


def _merged(profile: DeviceProfile, path: Path) -> DeviceProfile:
    if not path.is_file():
        return profile
    found = _read(path, profile.name)
    sections = {*profile.facts, *found}
    facts = {name: {**profile.facts.get(name, {}), **found.get(name, {})} for name in sorted(sections)}
    order = [*profile.facts, *(name for name in found if name not in profile.facts)]
    return replace(profile, facts={name: facts[name] for name in order})


def _read(path: Path, device: str) -> Facts:
    try:
        raw = tomllib.loads(path.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
        raise ConfigError(f"cannot read {path}: {error}", hint="delete it, and calibrate again") from error
    was, board = raw.pop("device", None), raw.pop("board", None)
    if was != device:
        raise ConfigError(
            f"{path} was measured on a {was}, and {board} is used as a {device} now",
            hint="delete it, or calibrate again: edgeopt boards calibrate",
        )
    measured = {(section, name) for section, name in _each(raw) if raw[section][name].pop("measured", False)}
    return {
        section: {n: replace(fact, is_measured=(section, n) in measured) for n, fact in body.items()}
        for section, body in facts_of(path, raw).items()
    }


def _each(raw: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    """Where there are facts, if they are well-formed."""
    for section, body in raw.items():
        if isinstance(body, dict):
            yield from ((section, name) for name, fact in body.items() if isinstance(fact, dict))


def _written(fact: Fact) -> str:
    fields = {"value": fact.value, "unit": fact.unit, "source": fact.source, "confidence": fact.confidence}
    fields |= {"measured": True} if fact.is_measured else {}
    said = ", ".join(f"{name} = {json.dumps(value, ensure_ascii=False)}" for name, value in fields.items())
    return f"{{ {said} }}"
