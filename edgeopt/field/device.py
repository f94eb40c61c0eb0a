"""One field device, reached over a transport: the agent is brought there once, asked, and fed."""

from __future__ import annotations

import json
import shlex
import time
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

from edgeopt.boards.address import Address
from edgeopt.boards.transports import FOLDER, Channel, Transport
from edgeopt.core import plugins
from edgeopt.core.closing import Closing
from edgeopt.core.digest import file_digest
from edgeopt.core.errors import (
    BusyError,
    CommandError,
    ConnectError,
    EdgeoptError,
    ModelError,
    PackageError,
    SignatureError,
)
from edgeopt.resources import resource

AGENT = "firmware_scripts/edgeopt_field.py"
ROOT = "/var/lib/edgeopt"
"""Where packages are installed on a device that says nothing else."""

QUESTION_S = 60.0
INSTALL_S = 1800.0
"""Self-test, switch and health watch; an agent that died is noticed by its connection, long before."""
FEEDING_S = 300.0
"""An agent that takes nothing, or hashes a large file on a slow card, for so long has failed."""
LONGEST_ANSWER_BYTES = 1 << 20

KINDS: dict[str, type[EdgeoptError]] = {
    kind.kind: kind for kind in (ModelError, PackageError, SignatureError, BusyError)
}
"""What an agent's error is for the host, by its kind; anything else is a command that failed."""


@dataclass(frozen=True, slots=True)
class Target:
    """A device that is to be reached.

    Attributes:
        name: As the user calls it.
        root: Folder on it in which packages are installed.
        sudo: Whether the agent is run as root by `sudo -n`.
        power_cycle: Command of this machine that takes its power away and gives it back.
    """

    name: str
    address: Address
    root: str = ROOT
    sudo: bool = False
    power_cycle: str | None = None


class Device(Closing):
    """An open connection to a field device.

    Raises:
        ConnectError: It is unreachable, not trusted, or lets nobody in.
        CommandError: The agent cannot be stored there.
    """

    def __init__(self, target: Target) -> None:
        self.name = target.name
        scheme = target.address.scheme
        self._transport: Transport = plugins.load("transports", scheme).connect(target.address)
        try:
            agent = resource(AGENT)
            sha256 = file_digest(agent)
            self._transport.put(agent, sha256)
        except BaseException:
            self._transport.close()
            raise
        python = _python(target)
        before = "sudo -n " if target.sudo else ""
        self._agent = (
            f'exec {before}env ORT_DISABLE_TELEMETRY=1 {python} "$HOME/{FOLDER}/objects/{sha256}" '
            f"--root {_path(target.root)}"
        )

    def close(self) -> None:
        self._transport.close()

    def ask(self, *words: str, stdin: bytes = b"", timeout_s: float = QUESTION_S) -> dict[str, Any]:
        """Run one command of the agent; returns its answer.

        Raises:
            EdgeoptError: What the agent says went wrong, with its exit code.
            ConnectError: The device is gone.
        """
        line = f"{self._agent} {shlex.join(words)}"
        done = self._transport.run(line, timeout_s, stdin)
        answer = _answer(done.stdout)
        if answer is not None and "error" not in answer and done.status == 0:
            return answer
        raise refusal(self.name, words[0], answer, done.status, done.stderr)

    def feed(self, *words: str, chunks: Iterable[bytes]) -> dict[str, Any]:
        """As `ask`, with a stream instead of a few bytes. Memory stays that of one chunk.

        Raises:
            EdgeoptError: As `ask`.
        """
        channel = self._transport.start(f"{self._agent} {shlex.join(words)}")
        try:
            broken: ConnectError | None = None
            try:
                for chunk in chunks:
                    channel.send(chunk)
            except ConnectError as error:  # the agent may have ended, and said why, before it had all
                broken = error
            answer = _answer(_said(channel, broken))
            if answer is not None and "error" not in answer:
                return answer
            if answer is None and broken is not None:
                raise broken
            raise refusal(self.name, words[0], answer, None, "" if answer else channel.last_words())
        finally:
            channel.close()


def refusal(
    name: str, word: str, answer: dict[str, Any] | None, status: int | None, stderr: str
) -> EdgeoptError:
    """What went wrong, from an agent's answer; without one, from the last line that it wrote."""
    said = (answer or {}).get("error")
    if not isinstance(said, dict):
        last = (stderr.strip().splitlines() or ["nothing"])[-1]
        text = f"{name}: {word} ended{'' if status is None else f' with {status}'}, saying: {one_line(last)}"
        return CommandError(text, hint=_hint(last))
    kind = str(said.get("kind") or CommandError.kind)
    made = KINDS.get(kind, CommandError)(
        f"{name}: {one_line(said.get('message'))}", one_line(said.get("hint")) or None
    )
    made.kind = kind
    if isinstance(status, int) and status > 0:
        made.exit_code = status
    return made


def _answer(said: str) -> dict[str, Any] | None:
    """The last line of what an agent said, if it is an answer; it never says more than one."""
    lines = said.strip().splitlines()
    try:
        answer = json.loads(lines[-1]) if lines else None
    except ValueError:
        return None
    return answer if isinstance(answer, dict) else None


def _said(channel: Channel, broken: ConnectError | None) -> str:
    """All that is left to read; of a channel that broke, what had arrived before."""
    said = b""
    end = time.monotonic() + FEEDING_S
    while len(said) < LONGEST_ANSWER_BYTES:
        try:
            data = channel.receive(1.0 if broken else max(1.0, end - time.monotonic()))
        except ConnectError:
            if broken is None:
                raise
            break
        if not data:
            break
        said += data
    return said.decode(errors="replace")


def one_line(text: object) -> str:
    """One line that moves no terminal and is short, whatever a device says."""
    clean = "".join(one if one.isprintable() else " " for one in str(text or ""))
    return " ".join(clean.split())[:500]


def _hint(last: str) -> str | None:
    if "sudo" in last and "password" in last:
        return "its user needs a rule in sudoers that asks for no password, or log in as another"
    if "cryptography" in last:
        return "run on the device: apt-get install -y python3-cryptography"
    if "not found" in last or "No such file" in last:
        return 'name its Python: python = "/path" in boards.toml, or ?python=/path'
    return None


def _python(target: Target) -> str:
    import sys

    usual = sys.executable if target.address.scheme == "local" else "python3"
    return shlex.quote(target.address.python or usual)


def _path(root: str) -> str:
    """Quoted for the device's shell, whose home `~/` means."""
    return f'"$HOME"/{shlex.quote(root[2:])}' if root.startswith("~/") else shlex.quote(root)
