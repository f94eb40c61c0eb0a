"""A network in between that can be slow, lossy, cut, or silent as after a pulled cable."""

from __future__ import annotations

import contextlib
import random
import socket
import struct
import threading
import time


class Proxy:
    """Carries connections of 127.0.0.1 to another port of it.

    Attributes:
        silent: Nothing is carried any more, and nobody is told: a pulled cable.
        cut_after_bytes: From the client, after which every connection is reset.
        bytes_per_s, stall_s: A slow and a lossy network: every piece takes its time, some are sent again.
        refuses: New connections are reset.
        greeting: Sent instead of what the server would say.
        carried: Bytes from clients so far.
    """

    def __init__(self, port: int) -> None:
        self._to = port
        self.silent = self.refuses = False
        self.cut_after_bytes: int | None = None
        self.bytes_per_s: float | None = None
        self.stall_s = 0.0
        self.greeting: bytes | None = None
        self.carried = 0
        self._random = random.Random(0)
        self._listener = socket.create_server(("127.0.0.1", 0))
        self._pairs: list[tuple[socket.socket, socket.socket]] = []
        self._threads: list[threading.Thread] = []
        self._closed = False
        self._start(self._accept)

    @property
    def port(self) -> int:
        return int(self._listener.getsockname()[1])

    def reset(self) -> None:
        """Cut all connections at once."""
        for pair in self._pairs:
            for one in pair:
                with contextlib.suppress(OSError):
                    one.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
                    one.shutdown(socket.SHUT_RDWR)
                one.close()
        self._pairs.clear()

    def heal(self) -> None:
        """As before; what was silent has been given up by both sides meanwhile."""
        self.silent = self.refuses = False
        self.cut_after_bytes = self.bytes_per_s = self.greeting = None
        self.stall_s = 0.0
        self.reset()

    def close(self) -> None:
        self._closed = True
        self.silent = False
        with contextlib.suppress(OSError):
            self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()
        self.reset()
        for thread in self._threads:
            thread.join(10)

    def _start(self, run: object, *arguments: object) -> None:
        thread = threading.Thread(target=run, args=arguments, daemon=True)  # type: ignore[arg-type]
        self._threads.append(thread)
        thread.start()

    def _accept(self) -> None:
        while not self._closed:
            try:
                client, _ = self._listener.accept()
            except OSError:
                return
            if self.refuses:
                client.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
                client.close()
                continue
            if self.greeting is not None:
                with contextlib.suppress(OSError):
                    client.sendall(self.greeting)
                client.close()
                continue
            try:
                server = socket.create_connection(("127.0.0.1", self._to), 5)
            except OSError:
                client.close()
                continue
            server.settimeout(None)
            self._pairs.append((client, server))
            self._start(self._carry, client, server, True)
            self._start(self._carry, server, client, False)

    def _carry(self, source: socket.socket, target: socket.socket, counts: bool) -> None:
        with contextlib.suppress(OSError):
            while data := source.recv(1 << 14):
                if counts:
                    self.carried += len(data)
                if self.cut_after_bytes is not None and self.carried >= self.cut_after_bytes:
                    self.reset()
                    return
                while self.silent and not self._closed:
                    time.sleep(0.02)
                if self.bytes_per_s:
                    time.sleep(len(data) / self.bytes_per_s)
                if self.stall_s and self._random.random() < 0.2:
                    time.sleep(self.stall_s)
                target.sendall(data)
        for one in (source, target):
            with contextlib.suppress(OSError):
                one.shutdown(socket.SHUT_RDWR)
