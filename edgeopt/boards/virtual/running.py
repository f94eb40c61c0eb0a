"""A virtual board that is up: where it is, how to reach it, how to disturb it."""

from __future__ import annotations

import contextlib
import json
import os
import signal
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from urllib.parse import quote

from edgeopt.boards.virtual import locks, qemu, recipe, rootfs
from edgeopt.boards.virtual.qmp import Qmp
from edgeopt.core.errors import ConnectError
from edgeopt.core.files import write_atomically

RECORD, ALIVE, SSH_CONFIG = "board.json", "alive.lock", "ssh_config"


@dataclass(frozen=True, slots=True)
class Running:
    """One board.

    Attributes:
        name: `virtual:rpi4`.
        device: Its device profile's name.
        pid: Of the emulator.
        started_ticks: When that process began, in clock ticks since boot: a number may be used again.
        port: Of 127.0.0.1, forwarded to its SSH server.
        kept: Whether it outlives the process that started it (`boards up`).
        made_with: Version of the image, the plugin and the simulated caches (`version.machine`).
        folder: Its console log, sockets, SSH configuration and counts.
    """

    name: str
    device: str
    pid: int
    started_ticks: int
    port: int
    ram_bytes: int
    kept: bool
    made_with: str
    folder: Path

    @property
    def url(self) -> str:
        """Address for `boards.address`: its SSH configuration names key, port and pinned host key."""
        return self._url("")

    @property
    def root_url(self) -> str:
        """The same as root, to cause faults in the guest."""
        return self._url("root@")

    @property
    def ssh(self) -> str:
        """The command with which a person enters it."""
        return f"ssh -F {self.folder / SSH_CONFIG} {recipe.HOST}"

    @property
    def counts(self) -> Path:
        """Folder in which the n-th stop marker writes `c.n`."""
        return self.folder / qemu.COUNTS

    @property
    def packages(self) -> Path:
        """The Debian packages that are in it, a line each with name and version."""
        return self.folder / rootfs.PACKAGES

    @property
    def alive(self) -> bool:
        return start_time(self.pid) == self.started_ticks

    @contextlib.contextmanager
    def lock(self, waiting: Callable[[], None] = lambda: None) -> Iterator[None]:
        """One counting user at a time; `waiting` is called once if that is somebody else now.

        Raises:
            ConnectError: The board has ended.
        """
        self.require_alive()
        with locks.locked(self.folder / "counting.lock", waiting):
            yield

    def qmp(self) -> Qmp:
        """Its emulator's control socket.

        Raises:
            ConnectError: The board has ended.
        """
        self.require_alive()
        return Qmp(self.folder / qemu.CONTROL)

    def require_alive(self) -> None:
        """Check that its emulator still runs.

        Raises:
            ConnectError: It does not.
        """
        if not self.alive:
            raise ConnectError(
                f"{self.name} is gone: its emulator has ended or was killed",
                hint=f"start it again: edgeopt boards up {self.device}"
                if self.kept
                else "repeat the command",
            )

    def kill(self) -> None:
        """Cut its power, and nobody else's."""
        with contextlib.suppress(ProcessLookupError):
            descriptor = os.pidfd_open(self.pid)
            try:
                if self.alive:
                    signal.pidfd_send_signal(descriptor, signal.SIGKILL)
            finally:
                os.close(descriptor)

    def write(self) -> None:
        """Leave its record in its folder."""
        record = {name: value for name, value in asdict(self).items() if name != "folder"}
        write_atomically(self.folder / RECORD, json.dumps(record).encode())

    @classmethod
    def read(cls, folder: Path) -> Running | None:
        """The board of a folder; None if it has not got so far."""
        try:
            record = json.loads((folder / RECORD).read_text(encoding="utf-8"))
            known = {one.name: record[one.name] for one in fields(cls) if one.name != "folder"}
            return cls(**known, folder=folder)
        except (OSError, ValueError, TypeError, KeyError):
            return None

    def _url(self, user: str) -> str:
        return f"ssh://{user}{recipe.HOST}?config={quote(str(self.folder / SSH_CONFIG), safe='/')}"


def write_ssh_config(folder: Path, image: Path, port: int) -> None:
    """How to reach a board: the key to offer, and the one host key to accept.

    Both are copied, and what is in it, for a board outlives an image that is found damaged and made again.
    """
    for name in ("key", "known_hosts", rootfs.PACKAGES):
        write_atomically(folder / name, (image / name).read_bytes())
        (folder / name).chmod(0o600)
    lines = {
        "HostName": "127.0.0.1",
        "Port": port,
        "User": recipe.USER,
        "IdentityFile": f'"{folder / "key"}"',
        "IdentitiesOnly": "yes",
        "HostKeyAlias": recipe.HOST,
        "UserKnownHostsFile": f'"{folder / "known_hosts"}"',
        "StrictHostKeyChecking": "yes",
    }
    text = "".join(f"    {key} {value}\n" for key, value in lines.items())
    write_atomically(folder / SSH_CONFIG, f"Host {recipe.HOST}\n{text}".encode())


def start_time(pid: int) -> int | None:
    """When a process began, in clock ticks since boot; None if it is not there, or dead and unburied."""
    try:
        said = Path(f"/proc/{pid}/stat").read_text(encoding="ascii", errors="replace")
    except OSError:
        return None
    words = said.rpartition(")")[2].split()
    return int(words[19]) if words[0] != "Z" else None
