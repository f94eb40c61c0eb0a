"""Which conditions a board can be measured under."""

from __future__ import annotations

from edgeopt.boards.board import Board
from edgeopt.core.conditions import Setting
from edgeopt.core.errors import ConfigError


def pinned_cores(setting: Setting, board: Board) -> int:
    """How many cores the model has.

    Raises:
        ConfigError: Conditions that only hardware has, or a core that the board does not have.
    """
    if board.provenance != "measured" and not setting.is_default:
        raise ConfigError(
            f"--conditions {setting}: only hardware grows warm, is loaded or has cores to pin to, and "
            f"{board.name} is {board.provenance}",
            hint="name a real board, or leave the conditions out",
        )
    if setting.cpus and max(setting.cpus) >= board.facts.cores:
        raise ConfigError(
            f"--cpus {max(setting.cpus)}: the cores of {board.name} are 0 to {board.facts.cores - 1}"
        )
    return len(setting.cpus) or board.facts.cores
