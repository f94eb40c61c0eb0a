"""From an address and the user's SSH configuration to the hosts to pass through."""

from __future__ import annotations

import getpass
import os
import re
from dataclasses import dataclass
from pathlib import Path

import paramiko

from edgeopt.boards.address import Address
from edgeopt.boards.hostkeys import host_name
from edgeopt.core.errors import ConfigError

MOST_HOPS = 8
MOST_INCLUDES = 16
DEFAULT_IDENTITIES = ("id_ed25519", "id_ecdsa", "id_rsa")


@dataclass(frozen=True, slots=True)
class Hop:
    """One host to log in to.

    Attributes:
        host: Name or address to connect to (the configuration's HostName).
        identities: Private key files to try, in order.
        demanded: The identity that the user named: it must exist and be readable.
        use_agent: False where the configuration says IdentitiesOnly.
        proxy_command: How to reach it, instead of a TCP connection.
        key_name: How known_hosts names it.
        known_hosts: Further files of trusted keys (UserKnownHostsFile).
        url: An address that reaches it, for hints.
    """

    host: str
    port: int
    user: str
    identities: tuple[Path, ...]
    demanded: Path | None
    use_agent: bool
    proxy_command: str | None
    key_name: str
    known_hosts: tuple[Path, ...]
    url: str


def route(address: Address) -> list[Hop]:
    """The hosts from here to `address`, the board last.

    Raises:
        ConfigError: The configuration cannot be read, or its jumps never end.
    """
    file = address.config or Path(os.environ.get("EDGEOPT_SSH_CONFIG") or "~/.ssh/config")
    file = file.expanduser()
    if not file.is_file() and (address.config or "EDGEOPT_SSH_CONFIG" in os.environ):
        raise ConfigError(f"there is no SSH configuration {file}")
    text = _with_includes(file, MOST_INCLUDES) if file.is_file() else ""
    try:
        return _hops(address, text, MOST_HOPS)
    except (paramiko.SSHException, ImportError, KeyError, ValueError) as error:
        raise ConfigError(f"cannot make sense of {file}: {error}") from error


def _hops(address: Address, text: str, left: int) -> list[Hop]:
    if left == 0:
        raise ConfigError(f"more than {MOST_HOPS} jumps to {address.host}: does ProxyJump go in a circle?")
    hop, jumps = _hop(address, text)
    before: list[Hop] = []
    for number, jump in enumerate(jumps):
        via = Address.parse(jump if "://" in jump else f"ssh://{jump}")
        # As with ssh -J, only the first jump is reached by its own ProxyJump: the rest follow each other.
        before += _hops(via, text, left - 1) if number == 0 else [_hop(via, text)[0]]
    return [*before, hop]


def _hop(address: Address, text: str) -> tuple[Hop, list[str]]:
    # The first value found wins in an SSH configuration: what the address says goes before the file.
    said = "".join(
        f"{key} {value}\n" for key, value in (("Port", address.port), ("User", address.user)) if value
    )
    found = paramiko.SSHConfig.from_text(said + text).lookup(address.host)
    port, host = int(found.get("port", 22)), str(found["hostname"])
    jump = str(found.get("proxyjump", "none"))
    listed = tuple(Path(name).expanduser() for name in found.get("identityfile", ()))
    usual = tuple(Path.home() / ".ssh" / name for name in DEFAULT_IDENTITIES)
    own = (address.identity,) if address.identity else ()
    hop = Hop(
        host=host,
        port=port,
        user=str(found.get("user") or getpass.getuser()),
        identities=(*own, *(path for path in listed or usual if path.is_file())),
        demanded=address.identity,
        use_agent=str(found.get("identitiesonly", "no")).lower() != "yes",
        proxy_command=found.get("proxycommand") if jump == "none" else None,
        key_name=host_name(str(found.get("hostkeyalias", host)), port if "hostkeyalias" not in found else 22),
        known_hosts=tuple(Path(f).expanduser() for f in str(found.get("userknownhostsfile", "")).split()),
        url=str(address),
    )
    return hop, [] if jump.lower() == "none" else [name.strip() for name in jump.split(",")]


def _with_includes(file: Path, depth: int) -> str:
    """The text of a configuration with its Include lines replaced by what they name."""
    try:
        text = file.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(f"cannot read {file}: {error}") from error
    if depth == 0:
        raise ConfigError(f"{file}: Include goes in a circle")

    def expand(line: re.Match[str]) -> str:
        texts = []
        for pattern in line[1].split():
            path = Path(pattern.strip('"')).expanduser()
            folder = Path("/") if path.is_absolute() else Path.home() / ".ssh"
            names = sorted(folder.glob(str(path.relative_to("/")) if path.is_absolute() else str(path)))
            texts += [_with_includes(name, depth - 1) for name in names if name.is_file()]
        return "\n".join(texts)

    return re.sub(r"(?im)^[ \t]*include[ \t=]+(.+?)[ \t]*$", expand, text)
