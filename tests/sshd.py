"""A real OpenSSH server on loopback, with its own keys and configuration."""

from __future__ import annotations

import contextlib
import getpass
import os
import signal
import socket
import subprocess
import time
from pathlib import Path

BINARY = "/usr/sbin/sshd"


class Sshd:
    """One server; `home` is what its users get as their home, so that boards can be told apart.

    Attributes:
        url: Address to log in with the client's key.
        host_key: Path of its private ed25519 host key.
        identity: Path of the private key that it lets in.
    """

    def __init__(self, folder: Path, identity: Path) -> None:
        folder.mkdir(parents=True)
        self.folder, self.identity = folder, identity
        self.home = folder / "home"
        self.home.mkdir()
        self.host_key = make_key(folder / "host_key")
        self.port = free_port()
        self.config = folder / "sshd_config"
        authorized = folder / "authorized_keys"
        authorized.write_text(public(identity))
        self.config.write_text(
            f"Port {self.port}\nListenAddress 127.0.0.1\nHostKey {self.host_key}\nPidFile {folder / 'pid'}\n"
            f"AuthorizedKeysFile {authorized}\nUsePAM no\nStrictModes no\nPermitRootLogin yes\n"
            f"PasswordAuthentication no\nKbdInteractiveAuthentication no\nMaxStartups 100\n"
            f"SetEnv HOME={self.home} EDGEOPT_LEASE_DIR={self.folder}\n"
        )
        self.process: subprocess.Popen[bytes] | None = None

    @property
    def address(self) -> str:
        return f"ssh://{getpass.getuser()}@127.0.0.1:{self.port}"

    @property
    def url(self) -> str:
        import sys

        return f"{self.address}?python={sys.executable}&identity={self.identity}"

    @property
    def known_hosts_line(self) -> str:
        return f"[127.0.0.1]:{self.port} {' '.join(public(self.host_key).split()[:2])}\n"

    @property
    def fingerprint(self) -> str:
        said = subprocess.run(
            ["ssh-keygen", "-lf", self.host_key], capture_output=True, text=True, check=True
        )
        return said.stdout.split()[1]

    @property
    def objects(self) -> Path:
        return self.home / ".cache" / "edgeopt" / "objects"

    def trust(self) -> None:
        """Put its host key into the user's known_hosts."""
        file = Path.home() / ".ssh" / "known_hosts"
        file.parent.mkdir(mode=0o700, exist_ok=True)
        with file.open("a") as stream:
            stream.write(self.known_hosts_line)

    def start(self) -> Sshd:
        if os.geteuid() == 0:
            Path("/run/sshd").mkdir(mode=0o755, exist_ok=True)
        log = (self.folder / "log").open("ab")
        self.process = subprocess.Popen([BINARY, "-D", "-e", "-f", self.config], stderr=log)
        log.close()
        end = time.monotonic() + 30
        while time.monotonic() < end:
            assert self.process.poll() is None, (self.folder / "log").read_text()
            with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", self.port), 1) as probe:
                if probe.recv(4) == b"SSH-":
                    return self
        raise AssertionError("sshd did not start")

    def kill(self) -> None:
        """The board dies: the server, its sessions and everything in them at once."""
        if self.process:
            for pid in descendants(self.process.pid):
                with contextlib.suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGKILL)
            self.process.kill()
            self.process.wait()
            self.process = None


def descendants(pid: int) -> list[int]:
    """All processes below `pid`, the deepest last."""
    parents: dict[int, list[int]] = {}
    for stat in Path("/proc").glob("[0-9]*/stat"):
        with contextlib.suppress(OSError):
            parents.setdefault(int(stat.read_text().rpartition(")")[2].split()[1]), []).append(
                int(stat.parent.name)
            )
    found = list(parents.get(pid, []))
    for child in found:
        found += parents.get(child, [])
    return found


def make_key(path: Path, passphrase: str = "", kind: str = "ed25519") -> Path:
    subprocess.run(
        ["ssh-keygen", "-q", "-t", kind, "-N", passphrase, "-C", "test", "-f", path], check=True, timeout=60
    )
    return path


def public(private: Path) -> str:
    return private.with_name(private.name + ".pub").read_text()


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])
