"""QEMU's control socket: pull the network cable, stop, reset, save a board."""

from __future__ import annotations

import json
import os
import socket
import time
from collections.abc import Mapping
from pathlib import Path
from typing import IO, Any

from edgeopt.core.closing import Closing
from edgeopt.core.errors import BoardError

ANSWER_TIMEOUT_S = 20.0
SAVE_TIMEOUT_S = 120.0
NETWORK = "net0"


class Qmp(Closing):
    """One conversation with one QEMU; it serves one at a time, the next one waits.

    Raises:
        BoardError: Nobody answers, or QEMU refuses.
    """

    def __init__(self, path: Path) -> None:
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self._socket.settimeout(ANSWER_TIMEOUT_S)
        self._lines: IO[bytes] | None = None
        try:
            connect_unix(self._socket, path)
            self._lines = self._socket.makefile("rb")
            self._line()
            self.execute("qmp_capabilities")
        except OSError as error:
            self.close()
            raise BoardError(
                f"the emulator of {path.parent.name} does not answer: {error.strerror or error}"
            ) from error
        except BaseException:
            self.close()
            raise

    @classmethod
    def if_listening(cls, path: Path) -> Qmp | None:
        """None while nobody listens there: QEMU makes the socket's file a moment before it does.

        Raises:
            BoardError: Somebody listens, and does not answer.
        """
        try:
            return cls(path)
        except BoardError as error:
            if isinstance(error.__cause__, FileNotFoundError | ConnectionRefusedError):
                return None
            raise

    def execute(
        self, command: str, arguments: Mapping[str, Any] | None = None, descriptor: int | None = None
    ) -> Any:
        """One command and its answer; `descriptor` is handed to QEMU along with it.

        Raises:
            BoardError: QEMU refuses, or has ended.
        """
        request = json.dumps({"execute": command, "arguments": arguments or {}}).encode() + b"\n"
        try:
            if descriptor is None:
                self._socket.sendall(request)
            else:
                socket.send_fds(self._socket, [request], [descriptor])
            while True:
                answer = self._line()
                if "error" in answer:
                    raise BoardError(f"the emulator refuses {command}: {answer['error']['desc']}")
                if "return" in answer:
                    return answer["return"]
        except OSError as error:
            raise BoardError(f"the emulator does not answer {command}: {error.strerror or error}") from error

    def set_link(self, up: bool) -> None:
        """Pull the network cable, or put it back."""
        self.execute("set_link", {"name": NETWORK, "up": up})

    def stop(self) -> None:
        """Freeze the board: it hangs."""
        self.execute("stop")

    def cont(self) -> None:
        """Let a frozen board go on."""
        self.execute("cont")

    def system_reset(self) -> None:
        """As the reset button: it boots again, what was not written to its disk is lost."""
        self.execute("system_reset")

    def quit(self) -> None:
        """Cut the power."""
        self.execute("quit")

    def status(self) -> str:
        """`running`, `paused`, `inmigrate`, ..."""
        return str(self.execute("query-status")["status"])

    def port(self) -> int:
        """The port of 127.0.0.1 that leads to the board's SSH server."""
        said = self.execute("human-monitor-command", {"command-line": "info usernet"})
        for line in str(said).splitlines():
            words = line.split()
            if words[:1] == ["TCP[HOST_FORWARD]"]:
                return int(words[3])
        raise BoardError("the emulator forwards no port to the board")

    def save(self, path: Path) -> None:
        """Write the memory and devices of a stopped board to `path`. It can go on afterwards."""
        with path.open("wb") as stream:
            self.execute("getfd", {"fdname": "state"}, stream.fileno())
            # The default of 128 MB/s is meant to spare a network.
            self.execute("migrate-set-parameters", {"max-bandwidth": 1 << 40})
            self.execute("migrate", {"uri": "fd:state"})
            end = time.monotonic() + SAVE_TIMEOUT_S
            while (state := self.execute("query-migrate").get("status")) != "completed":
                if state in ("failed", "cancelled") or time.monotonic() > end:
                    raise BoardError(f"the emulator cannot save the board: {state}")
                time.sleep(0.01)

    def close(self) -> None:
        if self._lines:
            self._lines.close()
        self._socket.close()

    def _line(self) -> dict[str, Any]:
        line = self._lines.readline() if self._lines else b""
        if not line:
            raise ConnectionResetError("it has ended")
        found: dict[str, Any] = json.loads(line)
        return found


def connect_unix(client: socket.socket, path: Path) -> None:
    """Connect to a socket by its folder: its whole path may be longer than a socket's address can be.

    Raises:
        OSError: It is not there, or nobody listens.
    """
    folder = os.open(path.parent, os.O_RDONLY | os.O_DIRECTORY)
    try:
        client.connect(f"/proc/self/fd/{folder}/{path.name}")
    finally:
        os.close(folder)
