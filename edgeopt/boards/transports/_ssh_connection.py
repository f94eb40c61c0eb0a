"""Open SSH connections: strictly verified host keys, keys for passwords, hop by hop."""

from __future__ import annotations

import contextlib
import logging
import socket
import subprocess
from collections.abc import Iterator
from typing import Any

import paramiko

from edgeopt.boards import places
from edgeopt.boards.hostkeys import HostKey, KnownHosts
from edgeopt.boards.transports._ssh_config import Hop
from edgeopt.core.errors import ConfigError, ConnectError, LoginError

CONNECT_TIMEOUT_S = 10.0
ANSWER_TIMEOUT_S = 20.0
KEEPALIVE_S = 10
SILENCE_LIMIT_MS = 30_000
"""The kernel gives a connection up when the other side acknowledges nothing for so long; with the
keepalives there is always something to acknowledge."""

logging.getLogger("paramiko").addHandler(logging.NullHandler())  # what it says comes as an exception, too


class Connection:
    """SSH sessions through all hops to the last; `transport` is the last one's.

    Raises:
        ConnectError: A hop cannot be reached, its host key is not trusted, or it lets nobody in.
    """

    def __init__(self, hops: list[Hop]) -> None:
        self._open = contextlib.ExitStack()
        self.target = hops[-1]
        try:
            through: paramiko.Transport | None = None
            for hop in hops:
                through = self._negotiated(hop, through)
                _verify(hop, through)
                _log_in(hop, through)
                through.set_keepalive(KEEPALIVE_S)
            if through is None:
                raise ConnectError("there is no host to connect to")
            self.transport = through
        except BaseException:
            self.close()
            raise

    def close(self) -> None:
        self._open.close()

    def _negotiated(self, hop: Hop, through: paramiko.Transport | None) -> paramiko.Transport:
        carrier = _carrier(hop, through, self._open)
        return negotiated(hop, carrier, trusted(hop).of(hop.key_name), self._open)


def offered(hops: list[Hop]) -> list[HostKey]:
    """The host keys that the last hop offers, one of each kind, without logging in to it."""
    keys: list[HostKey] = []
    with contextlib.ExitStack() as stack:
        through = None
        if hops[:-1]:
            before = Connection(hops[:-1])
            stack.callback(before.close)
            through = before.transport
        for kind in ("ssh-ed25519", "ecdsa-sha2-nistp256", "ssh-rsa"):
            with contextlib.ExitStack() as attempt:
                carrier = _carrier(hops[-1], through, attempt)
                found = _key(negotiated(hops[-1], carrier, [HostKey(kind, b"")], attempt))
                keys += [found] if found not in keys else []
    return keys


def negotiated(
    hop: Hop, carrier: Any, known: list[HostKey], stack: contextlib.ExitStack
) -> paramiko.Transport:
    """An encrypted session over `carrier`, not yet verified; kinds of keys in `known` are asked for first.

    Raises:
        ConnectError: The other side does not speak SSH, or nothing that both understand.
    """
    try:
        session = paramiko.Transport(carrier)
        stack.callback(session.close)
        session.banner_timeout = session.auth_timeout = session.channel_timeout = ANSWER_TIMEOUT_S
        options = session.get_security_options()
        kinds = [key.kind for key in known]
        wanted = [kind for name in kinds for kind in _algorithms(name) if kind in options.key_types]
        options.key_types = tuple(dict.fromkeys([*wanted, *options.key_types]))
        session.start_client(timeout=ANSWER_TIMEOUT_S)
    except (paramiko.SSHException, EOFError, OSError) as error:
        raise ConnectError(f"{hop.key_name} does not answer as an SSH server: {_one_line(error)}") from error
    if not session.initial_kex_done:  # paramiko returns in silence when its time is over
        raise ConnectError(f"{hop.key_name} does not answer as an SSH server within {ANSWER_TIMEOUT_S:g} s")
    return session


def trusted(hop: Hop) -> KnownHosts:
    """Host keys that may be offered by `hop`."""
    return KnownHosts.read([*places.known_hosts(), *hop.known_hosts])


def _verify(hop: Hop, session: paramiko.Transport) -> None:
    trusted(hop).check(hop.key_name, _key(session), hop.url)


def _key(session: paramiko.Transport) -> HostKey:
    key = session.get_remote_server_key()
    return HostKey(key.get_name(), key.asbytes())


def _carrier(hop: Hop, through: paramiko.Transport | None, stack: contextlib.ExitStack) -> Any:
    """A socket, or a channel of the previous hop, that ends at `hop`."""
    try:
        if through is not None:
            return through.open_channel(
                "direct-tcpip", (hop.host, hop.port), ("127.0.0.1", 0), timeout=ANSWER_TIMEOUT_S
            )
        if hop.proxy_command:
            return _proxied(hop.proxy_command, stack)
        connected = socket.create_connection((hop.host, hop.port), CONNECT_TIMEOUT_S)
        stack.callback(connected.close)
        connected.setsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT, SILENCE_LIMIT_MS)
        return connected
    except socket.gaierror as error:
        raise ConnectError(f"cannot resolve {hop.host}: {error.strerror}") from error
    except TimeoutError as error:
        raise ConnectError(f"{hop.key_name} does not answer within {CONNECT_TIMEOUT_S:g} s") from error
    except (OSError, paramiko.SSHException) as error:
        raise ConnectError(
            f"cannot connect to {hop.key_name}: {_one_line(error)}",
            hint="is it on, does sshd run there, and is that its address?",
        ) from error


def _proxied(command: str, stack: contextlib.ExitStack) -> socket.socket:
    ours, theirs = socket.socketpair()
    stack.callback(ours.close)
    # A ProxyCommand is by definition a line for a shell, from the user's own configuration.
    process = subprocess.Popen(
        ["/bin/sh", "-c", f"exec {command}"],
        stdin=theirs.fileno(),
        stdout=theirs.fileno(),
        stderr=subprocess.DEVNULL,
    )
    theirs.close()
    stack.callback(process.wait)
    stack.callback(process.terminate)
    return ours


def _log_in(hop: Hop, session: paramiko.Transport) -> None:
    """Try the identities, then the agent. Never asks for a password.

    Raises:
        LoginError: Nothing is accepted.
        ConnectError: The connection broke.
        ConfigError: The identity that the user named cannot be read.
    """
    refused: list[str] = []
    for name, key in _keys(hop, refused):
        try:
            if more := session.auth_publickey(hop.user, key):
                raise LoginError(f"{hop.url} wants {', '.join(more)} on top of a key: edgeopt cannot give it")
            return
        except paramiko.AuthenticationException:
            refused.append(f"{name} is not accepted")
        except (paramiko.SSHException, EOFError, OSError) as error:
            raise ConnectError(f"{hop.url} broke off the login: {_one_line(error)}") from error
    raise LoginError(
        f"{hop.user}@{hop.host} lets none of your keys in: {'; '.join(refused) or 'there are none'}",
        hint=f"ssh-copy-id -p {hop.port} {hop.user}@{hop.host} installs a key; ssh-add unlocks one",
    )


def _keys(hop: Hop, refused: list[str]) -> Iterator[tuple[str, Any]]:
    for path in hop.identities:
        try:
            yield str(path), paramiko.PKey.from_path(path)
        except (TypeError, paramiko.PasswordRequiredException):
            refused.append(f"{path} is encrypted (ssh-add {path} unlocks it)")
        except (OSError, ValueError, paramiko.SSHException, paramiko.pkey.UnknownKeyType) as error:
            if path == hop.demanded:
                raise ConfigError(f"cannot use the identity {path}: {_one_line(error)}") from error
            refused.append(f"{path} cannot be read")
    if hop.use_agent:
        agent = paramiko.Agent()
        try:
            for key in agent.get_keys():
                yield f"the agent's {key.comment or key.get_name()}", key
        finally:
            agent.close()


def _algorithms(kind: str) -> tuple[str, ...]:
    """Signature algorithms of a kind of key: RSA keys are offered under the names of their hashes."""
    return ("rsa-sha2-512", "rsa-sha2-256") if kind == "ssh-rsa" else (kind,)


def _one_line(error: BaseException) -> str:
    text = getattr(error, "strerror", None) or getattr(error, "text", None) or str(error)
    return str(text).splitlines()[0] if str(text) else type(error).__name__
