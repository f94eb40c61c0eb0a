"""One user at a time: a board is leased for as long as a command measures on it, whoever else shares it.

The record is on the board, where the runner keeps it (`Lease` in `firmware_scripts/edgeopt_runner.py`); this
is the side that asks.
"""

from __future__ import annotations

import getpass
import os
import secrets
import socket
import sys
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from edgeopt.boards.dialogue import Dialogue
from edgeopt.core.errors import BusyError
from edgeopt.core.progress import Observer

TTL_S = 120.0
"""A holder that is silent for so long has gone."""
BEAT_S = 20.0
ASK_S = 30.0
"""How long the runner waits for the board to become free before the waiting is told again."""
DEADLINE_S = 60.0


def owner() -> str:
    """Who we are, for others that share the board: `user@host`."""
    return f"{getpass.getuser()}@{socket.gethostname()}"


@dataclass(frozen=True, slots=True)
class Held:
    """A board that is ours.

    Attributes:
        token: Of fencing: the runner refuses to measure for any other.
        killed_former: Something on the board has killed the runner that the same command had there before.
    """

    token: int
    killed_former: bool


@dataclass(frozen=True, slots=True)
class Claim:
    """What a command asks for a board with.

    Attributes:
        wait_s: How long to wait while somebody else has it.
        observer: Is told who has it, and for how long we shall wait.
        nonce: Of this command alone: when its connection breaks and comes back, the board is still its own.
        hint: What to do where somebody else has it.
    """

    wait_s: float = 0.0
    observer: Observer = field(default_factory=Observer)
    owner: str = field(default_factory=owner)
    command: str = field(default_factory=lambda: " ".join(["edgeopt", *sys.argv[1:]]))
    nonce: str = field(default_factory=lambda: secrets.token_hex(16))
    hint: str = (
        "--wait 1h waits longer; edgeopt boards who shows who has it, and "
        "edgeopt boards unlock --force takes it away"
    )

    def take(self, dialogue: Dialogue, name: str) -> Held:
        """Wait for the board, take it, and keep it for as long as the conversation lasts.

        Args:
            name: The board's.

        Raises:
            BusyError: Somebody else still has it.
            ConnectError: It is unreachable.
        """
        end = time.monotonic() + self.wait_s
        said, wait_s = "", 0.0
        while True:
            answer = dialogue.ask(
                "lease", DEADLINE_S, patience_s=wait_s + DEADLINE_S, wait_s=wait_s, owner=self.owner,
                command=self.command, pid=os.getpid(), nonce=self.nonce, ttl_s=TTL_S,
            )  # fmt: skip
            if "token" in answer:
                dialogue.beat(BEAT_S)
                return Held(int(answer["token"]), answer["former"] == "died")
            holder = described(answer["held"])
            left_s = end - time.monotonic()
            if left_s <= 0:
                raise BusyError(f"{name} is in use by {holder}", self.hint)
            if holder.partition(" for ")[0] != said:  # once for each holder: a log shows it
                said = holder.partition(" for ")[0]
                self.observer.announce(f"{name} is in use by {holder}; waiting for at most {left_s:.0f} s")
            self.observer.board(f"{name} is in use by {holder}; waiting for {left_s:.0f} s more")
            wait_s = min(ASK_S, left_s)


def described(held: Mapping[str, Any]) -> str:
    """Somebody who has or has reserved a board, in words: `ann@desk for 12 min, since 14:03: edgeopt …`.

    One line, whatever stands in the record: whoever may log in to the board may write it.
    """
    return "".join(one if one.isprintable() else " " for one in _described(held))


def _described(held: Mapping[str, Any]) -> str:
    since = time.strftime("%H:%M", time.localtime(time.time() - held["for_s"]))
    text = f"{held['owner']} for {_duration(held['for_s'])}, since {since}"
    if held.get("left_s") is not None:
        why = f" ({held['why']})" if held.get("why") else ""
        return f"{text}, reserved for {_duration(held['left_s'])} more{why}"
    text += f": {held['command']}, pid {held['pid']}"
    if held.get("removed_by"):
        text += f"; {held['removed_by']} has taken it away, it is about to end"
    elif (held.get("silent_s") or 0.0) > 2 * BEAT_S:
        text += f"; silent for {_duration(held['silent_s'])}"
    return text


def _duration(seconds: float) -> str:
    if seconds < 100:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 6000 else f"{seconds / 3600:.1f} h"
