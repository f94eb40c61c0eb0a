"""Requests to the on-board runner, and its answers."""

from __future__ import annotations

import itertools
import json
import time
from typing import Any

from edgeopt.boards.answers import failure
from edgeopt.boards.transports import Channel
from edgeopt.core.errors import CommandError, ConnectError

VERSION = 1
GRACE_S = 30.0
"""How much later than its own deadline a runner may answer before the board counts as hung."""

CANDIDATES_FAULT = frozenset({"deadline", "crash", "oom", "load", "run"})


class Dialogue:
    """One conversation with a runner, over an open channel."""

    def __init__(self, channel: Channel, name: str) -> None:
        self._channel, self._name, self._ids, self._buffer = channel, name, itertools.count(1), b""

    def ask(self, op: str, deadline_s: float, *, patience_s: float | None = None, **fields: object) -> Any:
        """Send a request and wait for its answer.

        Args:
            deadline_s: After which the runner itself kills what it started.
            patience_s: After which the board counts as gone; by default the deadline and some grace.

        Raises:
            ConnectError: The board is gone or hung, or the runner has ended.
            CommandError: The runner refused the request, or the board's disk failed.
            CandidateFailed: The model failed.
        """
        number = next(self._ids)
        request = {"version": VERSION, "id": number, "op": op, "deadline_s": deadline_s, **fields}
        self._channel.send(json.dumps(request).encode() + b"\n")
        end = time.monotonic() + (deadline_s + GRACE_S if patience_s is None else patience_s)
        while True:
            answer = self._line(end)
            if answer.get("id") == number:
                break
        if "error" not in answer:
            return answer["ok"]
        if answer["error"]["kind"] in CANDIDATES_FAULT:
            raise failure(answer["error"])
        raise CommandError(f"{self._name}: the on-board runner failed at {op}: {answer['error']['message']}")

    def _line(self, end: float) -> dict[str, Any]:
        parts = [self._buffer]
        while b"\n" not in parts[-1]:
            data = self._channel.receive(max(0.1, end - time.monotonic()))
            if not data:
                said = self._channel.last_words()
                raise ConnectError(
                    f"{self._name}: the on-board runner is gone" + (f": {said}" if said else "")
                )
            parts.append(data)
            if time.monotonic() > end:
                raise ConnectError(f"{self._name} has not answered in time")
        line, _, self._buffer = b"".join(parts).partition(b"\n")
        try:
            return dict(json.loads(line))
        except ValueError as error:
            raise ConnectError(
                f"{self._name}: the on-board runner answers nonsense: {line[:80]!r}"
            ) from error

    def close(self) -> None:
        self._channel.close()
