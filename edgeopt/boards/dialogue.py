"""Requests to the on-board runner, and its answers."""

from __future__ import annotations

import contextlib
import itertools
import json
import math
import threading
import time
from typing import Any

from edgeopt.boards.answers import failure
from edgeopt.boards.transports import Channel
from edgeopt.core.errors import CommandError, ConnectError, EdgeoptError, LeaseLost, RunnerGone

VERSION = 1
GRACE_S = 30.0
"""How much later than its own deadline a runner may answer before the board counts as hung."""

CLOSING_S = 2.0
MISSED_BEATS = 5
"""A runner that leaves so many heartbeats unanswered is gone, or its board is."""

CANDIDATES_FAULT = frozenset({"deadline", "crash", "oom", "load", "run"})


class Dialogue:
    """One conversation with a runner, over an open channel."""

    def __init__(self, channel: Channel, name: str) -> None:
        self._channel, self._name, self._ids, self._buffer = channel, name, itertools.count(1), b""
        self._beating: threading.Thread | None = None
        self._every_s = math.inf
        self._sending, self._over = threading.Lock(), threading.Event()

    def ask(
        self, op: str, deadline_s: float, *, patience_s: float | None = None, is_heard: bool = False,
        **fields: object,
    ) -> Any:  # fmt: skip
        """Send a request and wait for its answer.

        Args:
            deadline_s: After which the runner itself kills what it started.
            patience_s: After which the board counts as gone; by default the deadline and some grace.
            is_heard: The runner listens while it works on this: if it answers no heartbeat, the board counts
                as gone sooner.

        Raises:
            RunnerGone: The runner has ended.
            ConnectError: The board is gone or hung.
            CommandError: The runner refused the request, or the board's disk failed.
            CandidateFailed: The model failed.
        """
        number = next(self._ids)
        request = {"version": VERSION, "id": number, "op": op, "deadline_s": deadline_s, **fields}
        with self._sending:
            self._channel.send(json.dumps(request).encode() + b"\n")
        end = time.monotonic() + (deadline_s + GRACE_S if patience_s is None else patience_s)
        while True:
            answer = self._line(end, MISSED_BEATS * self._every_s if is_heard else math.inf)
            if answer.get("id") == number:
                break
        if "error" not in answer:
            return answer["ok"]
        if answer["error"]["kind"] in CANDIDATES_FAULT:
            raise failure(answer["error"])
        if answer["error"]["kind"] == "lease":
            raise LeaseLost(
                f"{self._name} was taken away while it was in use: {answer['error']['message']}",
                hint="everything measured before is saved; the same command goes on once the board is free",
            )
        raise CommandError(f"{self._name}: the on-board runner failed at {op}: {answer['error']['message']}")

    def _line(self, end: float, silence_s: float) -> dict[str, Any]:
        parts = [self._buffer.lstrip(b"\n")]
        while b"\n" not in parts[-1]:
            left_s = max(0.1, min(silence_s, end - time.monotonic()))
            data = self._channel.receive(left_s)
            if not data:
                said = self._channel.last_words()
                raise RunnerGone(f"{self._name}: the on-board runner is gone" + (f": {said}" if said else ""))
            parts.append(data if any(parts) else data.lstrip(b"\n"))
            if time.monotonic() > end:
                raise ConnectError(f"{self._name} has not answered in time")
        line, _, self._buffer = b"".join(parts).partition(b"\n")
        try:
            return dict(json.loads(line))
        except ValueError as error:
            raise ConnectError(
                f"{self._name}: the on-board runner answers nonsense: {line[:80]!r}"
            ) from error

    def beat(self, every_s: float) -> None:
        """From now on tell the runner regularly that somebody is still here, also while it works."""

        def tell() -> None:
            while not self._over.wait(every_s):
                with self._sending, contextlib.suppress(EdgeoptError, OSError, ValueError):
                    self._channel.send(b"\n")  # if it is gone, whoever waits for its answer will notice

        self._every_s = every_s
        self._beating = threading.Thread(target=tell, name=f"heartbeat of {self._name}", daemon=True)
        self._beating.start()

    def close(self) -> None:
        self._over.set()
        self._channel.close()
        if self._beating:
            self._beating.join(CLOSING_S)
