"""This machine as a board."""

from __future__ import annotations

import os
import select
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import IO

from edgeopt.boards.address import Address
from edgeopt.boards.transports import FOLDER, CommandResult
from edgeopt.core.digest import file_digest
from edgeopt.core.errors import CommandError, ConfigError, ConnectError
from edgeopt.resources import resource

EXAMPLES = ("local", "local://?python=/usr/bin/python3")


def connect(address: Address) -> LocalTransport:
    """Needs no connection.

    Raises:
        ConfigError: The address names a host, or a Python that is not there.
    """
    if address.host or address.user or address.port:
        raise ConfigError("local is this machine: it takes no host", hint="ssh://user@host for another one")
    python = shutil.which(address.python or sys.executable)
    if not python:
        raise ConfigError(f"there is no Python at {address.python}")
    return LocalTransport(python, Path.home() / FOLDER)


class LocalTransport:
    """Implements `Transport` with processes and files of this machine."""

    def __init__(self, python: str, folder: Path) -> None:
        self._python, self._folder = python, folder
        self._channels: list[ProcessChannel] = []

    def start_runner(self) -> ProcessChannel:
        script = resource("firmware_scripts/edgeopt_runner.py")
        return self._started([self._python, str(script), str(self._folder)])

    def start(self, command: str) -> ProcessChannel:
        return self._started(["/bin/sh", "-c", command])

    def _started(self, command: list[str]) -> ProcessChannel:
        channel = ProcessChannel(command)
        self._channels.append(channel)
        return channel

    def put(self, source: Path, sha256: str) -> None:
        target = self._folder / "objects" / sha256
        try:
            target.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
            if target.is_file() and file_digest(target) == sha256:
                return
            with tempfile.NamedTemporaryFile(dir=target.parent, suffix=".part", delete=False) as part:
                _copy(source, part, target, sha256)
        except OSError as error:
            raise CommandError(f"cannot store {source.name} in {target.parent}: {error.strerror}") from error

    def get(self, sha256: str, target: Path) -> None:
        stored = self._folder / "objects" / sha256
        if not stored.is_file() or file_digest(stored) != sha256:
            raise CommandError(f"{sha256[:12]} is not among this machine's objects, or is damaged")
        shutil.copyfile(stored, target)

    def run(self, command: str, timeout_s: float = 30.0, stdin: bytes = b"") -> CommandResult:
        try:
            done = subprocess.run(
                ["/bin/sh", "-c", command],
                input=stdin, capture_output=True, timeout=timeout_s, check=False,
            )  # fmt: skip
        except subprocess.TimeoutExpired as error:
            raise CommandError(f"{command!r} took longer than {timeout_s:g} s") from error
        return CommandResult(done.returncode, done.stdout.decode(errors="replace"),
                             done.stderr.decode(errors="replace"))  # fmt: skip

    def close(self) -> None:
        for channel in self._channels:
            channel.close()


class ProcessChannel:
    """Implements `Channel` over the pipes of a process."""

    def __init__(self, command: list[str]) -> None:
        self._errors: IO[bytes] = tempfile.TemporaryFile()  # noqa: SIM115 - closed by close()
        environment = os.environ | {"ORT_DISABLE_TELEMETRY": "1"}
        try:
            self._process = subprocess.Popen(
                command, bufsize=0, env=environment, start_new_session=True,
                stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=self._errors,
            )  # fmt: skip
        except OSError as error:
            self._errors.close()
            raise ConnectError(f"cannot start {command[0]}: {error.strerror}") from error
        self._said = ""

    def send(self, data: bytes) -> None:
        try:
            if self._process.stdin:
                self._process.stdin.write(data)
        except OSError as error:
            raise ConnectError(f"the on-board runner has ended: {self.last_words()}") from error

    def receive(self, timeout_s: float) -> bytes:
        stream = self._process.stdout
        if stream is None or stream.closed:
            return b""
        if not select.select([stream], [], [], timeout_s)[0]:
            raise ConnectError(f"the on-board runner has been silent for {timeout_s:g} s")
        return os.read(stream.fileno(), 1 << 16)

    def last_words(self) -> str:
        if not self._errors.closed:
            self._errors.seek(0)
            lines = self._errors.read().decode(errors="replace").strip().splitlines()
            self._said = lines[-1] if lines else ""
        return self._said

    def close(self) -> None:
        self.last_words()
        if self._process.stdin:
            self._process.stdin.close()
        try:
            self._process.wait(2.0)  # it ends when its orders do
        except subprocess.TimeoutExpired:
            self._process.kill()  # its children are bound to it and follow
            self._process.wait()
        if self._process.stdout:
            self._process.stdout.close()
        self._errors.close()


def _copy(source: Path, part: IO[bytes], target: Path, sha256: str) -> None:
    """Copy beside the target, verify, then rename: no reader ever sees half a file."""
    try:
        with source.open("rb") as stream:
            shutil.copyfileobj(stream, part)
        part.flush()
        if file_digest(Path(part.name)) != sha256:
            raise CommandError(f"{source} is not {sha256[:12]}: it changed after it was built")
        Path(part.name).replace(target)
    finally:
        Path(part.name).unlink(missing_ok=True)
