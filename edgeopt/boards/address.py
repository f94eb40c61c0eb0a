"""The address of a board: `local`, or `ssh://user@host:port?python=/path&identity=/path&config=/path`."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path
from urllib.parse import parse_qsl, urlsplit

from edgeopt.core import plugins
from edgeopt.core.errors import ConfigError


@dataclass(frozen=True, slots=True)
class Address:
    """Where a board is and how to enter it.

    Attributes:
        scheme: Name of the transport (`local`, `ssh`).
        host: Host name, IP address or alias in the SSH configuration; empty for `local`.
        user: None: what the SSH configuration says, else the user's own name.
        port: None: what the SSH configuration says, else 22.
        python: Interpreter that has the runtime; None: `python3` on the board, this one for `local`.
        identity: Private key file; None: the agent, the SSH configuration and the usual files.
        config: SSH configuration file; None: `~/.ssh/config`.
        model: What the user says that it is, for a container that does not show its board's device tree.
    """

    scheme: str
    host: str = ""
    user: str | None = None
    port: int | None = None
    python: str | None = None
    identity: Path | None = None
    config: Path | None = None
    model: str | None = None

    @classmethod
    def parse(cls, url: str) -> Address:
        """Read an address.

        Raises:
            ConfigError: It is not one, or has a part that nobody would look at.
        """
        try:
            parts = urlsplit(url if "://" in url else f"{url}://")
            port = parts.port
            query = dict(parse_qsl(parts.query, strict_parsing=True)) if parts.query else {}
        except ValueError as error:
            raise ConfigError(f"{url!r} is not the address of a board: {error}") from error
        if parts.password is not None:
            raise ConfigError(
                "an address with a password in it is refused: it would end up in logs",
                hint="use a key: ssh-copy-id installs it on the board",
            )
        if unknown := sorted(query.keys() - {"python", "identity", "config", "model"}):
            raise ConfigError(f"{url!r}: {unknown[0]!r} is not one of python, identity, config, model")
        if parts.path.strip("/") or parts.fragment or not parts.scheme:
            raise ConfigError(f"{url!r} is not the address of a board", hint="ssh://user@host:port")
        known = plugins.names("transports")
        if parts.scheme not in known:
            raise ConfigError(
                f"{url!r} is not the address of a board: unknown transport {parts.scheme!r}",
                hint=f"known: {', '.join(known)}; an SSH address is ssh://user@host:port",
            )
        if parts.scheme == "ssh" and not parts.hostname:
            raise ConfigError(f"{url!r} is not the address of a board: it names no host")
        address = cls(parts.scheme, parts.hostname or "", parts.username, port)
        return address.using(**query)

    def using(
        self,
        python: str | None = None,
        identity: str | None = None,
        config: str | None = None,
        model: str | None = None,
    ) -> Address:
        """The same address with these, where they are given."""
        return replace(
            self,
            python=python or self.python,
            identity=Path(identity).expanduser() if identity else self.identity,
            config=Path(config).expanduser() if config else self.config,
            model=model or self.model,
        )

    def __str__(self) -> str:
        """What a reader needs to know the board by: without paths."""
        if not self.host:
            return self.scheme
        host = f"[{self.host}]" if ":" in self.host else self.host
        user = f"{self.user}@" if self.user else ""
        return f"{self.scheme}://{user}{host}" + (f":{self.port}" if self.port else "")
