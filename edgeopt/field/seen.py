"""When each device was last heard of, and what it served then: what there is to say of a silent one."""

from __future__ import annotations

import json
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import quote

from edgeopt.boards import places
from edgeopt.core.files import write_atomically


@dataclass(frozen=True, slots=True)
class Seen:
    """The last answer of a device.

    Attributes:
        time: Seconds since 1970, by this machine's clock.
        counter: Of the release that served then; None: none.
        state: As it was then.
    """

    time: float
    counter: int | None
    state: str

    def document(self) -> dict[str, Any]:
        """JSON-able."""
        return {"time": self.time, "counter": self.counter, "state": self.state}

    def __str__(self) -> str:
        when = time.strftime("%Y-%m-%d %H:%M", time.localtime(self.time))
        return f"last seen {when}" + ("" if self.counter is None else f" with {self.counter}")


def folder() -> Path:
    """`$EDGEOPT_HOME/devices-seen`: a file for each device, so that many may be noted at once."""
    return places.home() / "devices-seen"


def note(name: str, counter: int | None, state: str) -> None:
    """A device has answered now.

    Raises:
        EdgeoptError: It cannot be written down.
    """
    file = _file(name)
    file.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    write_atomically(file, json.dumps(Seen(time.time(), counter, state).document()).encode())


def last(name: str) -> Seen | None:
    """When a device was last heard of from this machine; None: never."""
    try:
        record = json.loads(_file(name).read_text(encoding="utf-8"))
        return Seen(float(record["time"]), record["counter"], str(record["state"]))
    except (OSError, ValueError, KeyError, TypeError):
        return None


def _file(name: str) -> Path:
    return folder() / f"{quote(name, safe='')}.json"
