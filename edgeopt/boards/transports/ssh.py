"""A board over SSH: files and commands need nothing there but a POSIX shell and coreutils (or busybox).

With `flock` (util-linux, or busybox) a broken upload goes on where it stopped; without, it begins again.
"""

from __future__ import annotations

import contextlib
import shlex
import time
from pathlib import Path
from typing import Any

import paramiko

from edgeopt.boards.address import Address
from edgeopt.boards.hostkeys import HostKey
from edgeopt.boards.transports import FOLDER, CommandResult
from edgeopt.boards.transports._ssh_config import route
from edgeopt.boards.transports._ssh_connection import ANSWER_TIMEOUT_S, Connection, offered
from edgeopt.core.digest import CHUNK_BYTES, file_digest
from edgeopt.core.errors import CommandError, ConfigError, ConnectError
from edgeopt.resources import resource

EXAMPLES = (
    "ssh://pi@raspberrypi.local",
    "ssh://pi@10.0.0.7:2222?python=/home/pi/venv/bin/python&identity=/home/me/.ssh/board",
)
STALL_LIMIT_S = 60.0
"""A transfer that moves nothing for so long has failed."""


def connect(address: Address) -> SshTransport:
    """Log in.

    Raises:
        ConnectError: Unreachable, host key not trusted, or no key accepted.
        ConfigError: The address or the SSH configuration makes no sense.
    """
    return SshTransport(Connection(_route(address)), address)


def offered_keys(address: Address) -> tuple[str, list[HostKey]]:
    """How known_hosts names the board, and the host keys that it offers.

    Raises:
        ConnectError: It cannot be reached.
    """
    hops = _route(address)
    return hops[-1].key_name, offered(hops)


def _route(address: Address) -> Any:
    if not address.host:
        raise ConfigError("ssh:// needs a host", hint="ssh://user@host:port")
    return route(address)


class SshTransport:
    """Implements `Transport` over one SSH connection."""

    def __init__(self, connection: Connection, address: Address) -> None:
        self._connection, self._address = connection, address
        self._name = str(address)

    def start_runner(self) -> SshChannel:
        script = resource("firmware_scripts/edgeopt_runner.py")
        sha256 = file_digest(script)
        self._upload(script, "runner", sha256)
        python = shlex.quote(self._address.python or "python3")
        return self.start(f'exec env ORT_DISABLE_TELEMETRY=1 {python} "$F/runner/{sha256}" "$F"')

    def start(self, command: str) -> SshChannel:
        return SshChannel(self._execute(command), self._name)

    def put(self, source: Path, sha256: str) -> None:
        self._upload(source, "objects", sha256)

    def get(self, sha256: str, target: Path) -> None:
        channel = self._execute(f'exec cat "$F/objects/{sha256}"')
        with target.open("wb") as stream:
            while data := self._received(channel):
                stream.write(data)
        if file_digest(target) != sha256:
            raise CommandError(f"{self._name} does not have {sha256[:12]}, or it arrived damaged")

    def run(self, command: str, timeout_s: float = 30.0, stdin: bytes = b"") -> CommandResult:
        channel = self._execute(command)
        # An error here only says that the other side has closed its end: its exit status says why.
        with contextlib.suppress(OSError):
            channel.settimeout(timeout_s)
            channel.sendall(stdin)
            channel.shutdown_write()
        return self._finished(channel, time.monotonic() + timeout_s)

    def close(self) -> None:
        self._connection.close()

    def _upload(self, source: Path, folder: str, sha256: str) -> None:
        """Continue a broken transfer where it stopped; begin again once if the result is damaged."""
        for _ in range(2):
            if self._send(source, folder, sha256) == "whole":
                return
        raise CommandError(f"{source.name} arrived damaged on {self._name} twice", hint="check its storage")

    def _send(self, source: Path, folder: str, name: str) -> str:
        """Append what the board lacks of a file: it says how much it has, takes the rest and says `whole`,
        `damaged`, or `partial` where the connection broke, and then keeps what it has. One command: every
        round trip and every process costs a slow board more than it seems.

        Two may upload at once: whoever brings the runner or uses a virtual board has no lease, and that a
        connection broke may not have been noticed there. So one at a time, who has locked the folder, appends
        to `NAME.part`; all others, and all where there is no `flock`, to files of their own, which begin as
        copies of it.
        """
        size_bytes = source.stat().st_size if source.is_file() else 0  # what is there need not be here
        enter = f'umask 077; [ -d "$F/{folder}" ] || mkdir -p "$F/{folder}" || exit; cd "$F/{folder}" || exit'
        channel = self._execute(
            f'{enter}; is() {{ [ -f "$1" ] && s=$(sha256sum < "$1") && [ "${{s%% *}}" = {name} ]; }}; '
            f"if is {name}; then echo whole; exit; fi; "
            f"p={name}.part; exec 9< .; flock -n 9 2> /dev/null || "
            f"{{ p={name}.$$.part; trap 'rm -f $p' EXIT; cp {name}.part $p 2> /dev/null || : > $p; }}; "
            "if [ -f $p ]; then wc -c < $p; else echo 0; fi; cat >> $p || exit; "
            f"if is $p; then mv -f $p {name} && rm -f {name}.part && echo whole; "
            f"elif is {name}; then rm -f $p; echo whole; "
            f'elif [ -f $p ] && [ "$(wc -c < $p)" -lt {size_bytes} ]; then echo partial; '
            "else rm -f $p; echo damaged; fi"
        )
        said = self._line(channel)
        if started := said.isdigit():
            # An error here only says that the other side has closed its end: its exit status says why.
            with contextlib.suppress(OSError, EOFError), source.open("rb") as stream:
                stream.seek(int(said))
                while data := stream.read(CHUNK_BYTES):
                    channel.sendall(data)
                channel.shutdown_write()
        try:
            result = self._finished(channel, time.monotonic() + STALL_LIMIT_S)
        except CommandError as error:  # what was sent may be on its way still, on a line that is dead
            raise ConnectError(f"{self._name} has been silent for {STALL_LIMIT_S:g} s") from error
        if result.status:
            if started:
                self.run(f"{enter}; rm -f {name}.part")  # a full disk needs the room
            raise CommandError(f"{self._name} cannot store {source.name}: {_last_line(result.stderr)}")
        return result.stdout.strip() if started else said

    def _line(self, channel: paramiko.Channel) -> str:
        """The first line of what a command says; empty if it ends without."""
        channel.settimeout(STALL_LIMIT_S)
        line = b""
        try:
            while not line.endswith(b"\n") and (byte := channel.recv(1)):
                line += byte
        except OSError as error:
            raise ConnectError(f"{self._name} has been silent for {STALL_LIMIT_S:g} s") from error
        return line.decode(errors="replace").strip()

    def _execute(self, command: str) -> paramiko.Channel:
        script = f'F="$HOME/{FOLDER}"; {command}'
        try:
            channel = self._connection.transport.open_session(timeout=ANSWER_TIMEOUT_S)
            channel.exec_command(f"exec /bin/sh -c {shlex.quote(script)}")
        except (paramiko.SSHException, EOFError, OSError) as error:
            raise ConnectError(f"lost the connection to {self._name}: {error}") from error
        return channel

    def _received(self, channel: paramiko.Channel) -> bytes:
        channel.settimeout(STALL_LIMIT_S)
        try:
            data = bytes(channel.recv(CHUNK_BYTES))
        except OSError as error:
            raise ConnectError(f"{self._name} has been silent for {STALL_LIMIT_S:g} s") from error
        if not data:
            self._finished(channel, time.monotonic() + STALL_LIMIT_S)
        return data

    def _finished(self, channel: paramiko.Channel, deadline: float) -> CommandResult:
        """Wait for the end of a command, reading both of its outputs so that neither blocks it."""
        parts: dict[str, list[bytes]] = {"out": [], "err": []}
        try:
            while True:
                channel.settimeout(max(0.01, min(0.2, deadline - time.monotonic())))
                while channel.recv_stderr_ready():
                    parts["err"].append(channel.recv_stderr(CHUNK_BYTES))
                try:
                    data = channel.recv(CHUNK_BYTES)
                except TimeoutError:
                    if time.monotonic() > deadline:
                        raise CommandError(f"a command on {self._name} took too long") from None
                    continue
                parts["out"].append(data)
                if not data:
                    break
            while data := channel.recv_stderr(CHUNK_BYTES):
                parts["err"].append(data)
            ended = channel.status_event.wait(max(0.01, deadline - time.monotonic()))
            status = channel.exit_status
        finally:
            channel.close()
        if not ended or status < 0:
            raise ConnectError(f"lost the connection to {self._name}")
        return CommandResult(status, *(b"".join(p).decode(errors="replace") for p in parts.values()))


class SshChannel:
    """Implements `Channel` over an SSH channel."""

    def __init__(self, channel: paramiko.Channel, name: str) -> None:
        self._channel, self._name, self._errors = channel, name, b""

    def send(self, data: bytes) -> None:
        self._channel.settimeout(STALL_LIMIT_S)
        try:
            self._channel.sendall(data)
        except (OSError, EOFError, paramiko.SSHException) as error:
            raise ConnectError(f"lost the connection to {self._name}") from error

    def receive(self, timeout_s: float) -> bytes:
        self._drain()
        end = time.monotonic() + timeout_s
        while True:
            # Set anew each time: a heartbeat, sent by another thread, has a timeout of its own.
            self._channel.settimeout(max(0.01, end - time.monotonic()))
            try:
                return bytes(self._channel.recv(CHUNK_BYTES))
            except TimeoutError as error:
                if time.monotonic() >= end:
                    raise ConnectError(f"{self._name} has been silent for {timeout_s:g} s") from error

    def last_words(self) -> str:
        self._channel.settimeout(ANSWER_TIMEOUT_S)
        with contextlib.suppress(TimeoutError):
            while data := self._channel.recv_stderr(CHUNK_BYTES):
                self._errors = (self._errors + data)[-4096:]
        return _last_line(self._errors.decode(errors="replace"))

    def close(self) -> None:
        with contextlib.suppress(OSError, EOFError):
            self._channel.close()

    def _drain(self) -> None:
        while self._channel.recv_stderr_ready():
            self._errors = (self._errors + self._channel.recv_stderr(CHUNK_BYTES))[-4096:]


def _last_line(text: str) -> str:
    lines = text.strip().splitlines()
    return lines[-1] if lines else ""
