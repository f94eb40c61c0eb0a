"""Which host keys are trusted, and how a new one comes to be.

A key is trusted if `known_hosts` has it: the user's (`~/.ssh`) or edgeopt's own, which only `enroll`
writes. Nothing is ever trusted on first use.
"""

from __future__ import annotations

import base64
import binascii
import fnmatch
import hashlib
import hmac
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from edgeopt.boards import places
from edgeopt.boards.address import Address
from edgeopt.core import plugins
from edgeopt.core.errors import ConfigError, ConnectError, HostKeyError
from edgeopt.core.files import write_atomically


@dataclass(frozen=True, slots=True)
class HostKey:
    """A public host key: `kind` is `ssh-ed25519` and the like, `blob` its binary form."""

    kind: str
    blob: bytes

    @property
    def fingerprint(self) -> str:
        """`SHA256:...`, as ssh-keygen prints it."""
        return "SHA256:" + base64.b64encode(hashlib.sha256(self.blob).digest()).decode().rstrip("=")


@dataclass(frozen=True, slots=True)
class Entry:
    """One line of a known_hosts file."""

    names: tuple[str, ...]
    key: HostKey
    revoked: bool = False

    def speaks_of(self, name: str) -> bool:
        """Whether the line is about host `name`; a negated pattern that matches wins."""
        if any(n.startswith("!") and fnmatch.fnmatchcase(name, n[1:]) for n in self.names):
            return False
        return any(_matches(pattern, name) for pattern in self.names)


class KnownHosts:
    """Host keys from known_hosts files, in OpenSSH's format (hashed names and markers included)."""

    def __init__(self, entries: Iterable[Entry]) -> None:
        self._entries = tuple(entries)

    @classmethod
    def read(cls, files: Iterable[Path]) -> KnownHosts:
        """Read those of `files` that exist. A line that makes no sense trusts nobody."""
        lines: list[str] = []
        for file in files:
            if file.is_file():
                lines += file.read_text(encoding="utf-8", errors="replace").splitlines()
        return cls(entry for entry in map(parse_line, lines) if entry)

    def of(self, name: str) -> list[HostKey]:
        """The keys known for a host, those of the earlier files first."""
        return [entry.key for entry in self._entries if not entry.revoked and entry.speaks_of(name)]

    def check(self, name: str, offered: HostKey, url: str) -> None:
        """Accept `offered` as the key of host `name`, or refuse.

        Args:
            url: What to enroll, for the hint.

        Raises:
            HostKeyError: The key is unknown, has changed, or was revoked.
        """
        hint = f"if you trust it: edgeopt boards enroll '{url}' --fingerprint {offered.fingerprint}"
        if any(entry.revoked and entry.key == offered and entry.speaks_of(name) for entry in self._entries):
            raise HostKeyError(f"the host key of {name} has been revoked: {offered.fingerprint}")
        known = self.of(name)
        if offered in known:
            return
        if known:
            raise HostKeyError(
                f"the host key of {name} has changed: it offers {offered.kind} {offered.fingerprint}, "
                f"known is {known[0].kind} {known[0].fingerprint}",
                hint=f"another machine may be answering in its place; {hint}",
            )
        raise HostKeyError(
            f"the host key of {name} is unknown: it offers {offered.kind} {offered.fingerprint}", hint=hint
        )


def host_name(host: str, port: int) -> str:
    """How known_hosts names a host: bare for port 22, else `[host]:port`."""
    return host if port == 22 else f"[{host}]:{port}"


def parse_line(line: str) -> Entry | None:
    """One line of known_hosts; None for comments, certificate authorities and nonsense."""
    words = line.split()
    if not words or words[0].startswith("#"):
        return None
    marker = words.pop(0) if words[0].startswith("@") else None
    if marker not in (None, "@revoked") or len(words) < 3:
        return None
    try:
        blob = base64.b64decode(words[2], validate=True)
    except (binascii.Error, ValueError):
        return None
    return Entry(tuple(words[0].split(",")), HostKey(words[1], blob), marker is not None)


def enroll(url: str, fingerprint: str | None) -> HostKey:
    """Trust the host key whose fingerprint the user has read on the board itself.

    Returns:
        The key, now in `$EDGEOPT_HOME/known_hosts`.

    Raises:
        ConnectError: The board is unreachable; or no fingerprint was given, and the message lists
            those that it offers; or none of the keys that it offers has that fingerprint.
        ConfigError: The address is not one that has host keys.
    """
    address = Address.parse(url)
    offer = getattr(plugins.load("transports", address.scheme), "offered_keys", None)
    if offer is None:
        raise ConfigError(f"{url} has no host key to enroll")
    name: str
    keys: list[HostKey]
    name, keys = offer(address)
    listed = ", ".join(f"{key.kind} {key.fingerprint}" for key in keys)
    if fingerprint is None:
        raise ConnectError(
            f"{name} offers {listed}",
            hint="compare with what `ssh-keygen -lf /etc/ssh/ssh_host_ed25519_key.pub` prints on the board, "
            f"then: edgeopt boards enroll '{url}' --fingerprint {keys[0].fingerprint}",
        )
    wanted = next((key for key in keys if key.fingerprint == fingerprint.strip().rstrip("=")), None)
    if wanted is None:
        raise ConnectError(
            f"{name} has no host key {fingerprint}: it offers {listed}",
            hint="do not enroll it unless the board itself shows that fingerprint",
        )
    _write(name, wanted)
    return wanted


def _write(name: str, key: HostKey) -> None:
    """Replace what edgeopt knows of `name`; a reader sees the old file or the new one."""
    file = places.known_hosts()[0]
    file.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    lines = file.read_text(encoding="utf-8").splitlines() if file.is_file() else []
    kept = [line for line in lines if not ((entry := parse_line(line)) and entry.names == (name,))]
    kept.append(f"{name} {key.kind} {base64.b64encode(key.blob).decode()}")
    write_atomically(file, ("\n".join(kept) + "\n").encode())


def _matches(pattern: str, name: str) -> bool:
    if pattern.startswith("|1|"):
        try:
            _, _, salt, expected = pattern.split("|")
            found = hmac.new(base64.b64decode(salt), name.encode(), hashlib.sha1).digest()
            return hmac.compare_digest(found, base64.b64decode(expected))
        except (binascii.Error, ValueError):
            return False
    # In this format brackets are part of `[host]:port`, not a set of characters as in a shell.
    return fnmatch.fnmatchcase(name, pattern.replace("[", "[[]"))
