"""A transport that counts how often it crosses the network."""

from __future__ import annotations

from pathlib import Path

from edgeopt.boards.transports import Channel, CommandResult, Transport


class CountingTrips:
    """Implements `Transport` by another one.

    `trips` are requests to the runner, uploads, downloads and commands: what somebody waits for. Heartbeats
    are sent beside a measurement, and nobody waits for them.
    """

    def __init__(self, inner: Transport) -> None:
        self._inner, self.trips, self.beats = inner, 0, 0

    def start_runner(self) -> Channel:
        self.trips += 1
        channel = self._inner.start_runner()
        send = channel.send

        def counted(data: bytes) -> None:
            if data.strip():
                self.trips += 1
            else:
                self.beats += 1
            send(data)

        channel.send = counted  # type: ignore[method-assign]
        return channel

    def start(self, command: str) -> Channel:
        self.trips += 1
        return self._inner.start(command)

    def put(self, source: Path, sha256: str) -> None:
        self.trips += 1
        self._inner.put(source, sha256)

    def get(self, sha256: str, target: Path) -> None:
        self.trips += 1
        self._inner.get(sha256, target)

    def run(self, command: str, timeout_s: float = 30.0, stdin: bytes = b"") -> CommandResult:
        self.trips += 1
        return self._inner.run(command, timeout_s, stdin)

    def close(self) -> None:
        self._inner.close()
