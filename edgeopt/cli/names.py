"""The names a user may type, for completion and for errors. Listing them imports no plug-in."""

from __future__ import annotations

import difflib
from collections.abc import Iterable

from edgeopt.core.errors import ConfigError, EdgeoptError

FIXED_BOARDS = ("local", "predicted", "virtual")


def devices() -> list[str]:
    """Names of all device profiles."""
    from edgeopt.boards import profiles

    return list(profiles.names())


def samplers() -> list[str]:
    """Names of all samplers."""
    from edgeopt.core import plugins

    return list(plugins.names("samplers"))


def boards() -> list[str]:
    """What `--board` takes: the fixed names and those of `boards.toml`."""
    try:
        from edgeopt.boards.inventory import Inventory

        configured = sorted(Inventory.load().boards)
    except (EdgeoptError, ImportError):
        configured = []  # completion must not print an error into the user's command line
    return [*FIXED_BOARDS, *configured]


def groups() -> list[str]:
    """What `--group` takes."""
    try:
        from edgeopt.boards.inventory import Inventory

        return sorted({group for board in Inventory.load().boards.values() for group in board.groups})
    except (EdgeoptError, ImportError):
        return []  # completion must not print an error into the user's command line


def complete_group(incomplete: str) -> list[str]:
    """Completion of `--group`."""
    return [name for name in groups() if name.startswith(incomplete)]


def complete_device(incomplete: str) -> list[str]:
    """Completion of `--device`."""
    return [name for name in devices() if name.startswith(incomplete)]


def complete_sampler(incomplete: str) -> list[str]:
    """Completion of `--sampler`."""
    return [name for name in samplers() if name.startswith(incomplete)]


def complete_board(incomplete: str) -> list[str]:
    """Completion of `--board`."""
    return [name for name in boards() if name.startswith(incomplete)]


def known(what: str, name: str, names: Iterable[str]) -> str:
    """`name`, if it is one of `names`.

    Raises:
        ConfigError: It is not; the hint has the nearest one, or all.
    """
    choices = list(names)
    if name in choices:
        return name
    near = difflib.get_close_matches(name, choices, n=1)
    hint = f"did you mean {near[0]}?" if near else f"known: {', '.join(choices)}"
    raise ConfigError(f"unknown {what} {name!r}", hint=hint)
