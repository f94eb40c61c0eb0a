"""Walks the whole way to a measurement on a board, step by step, and says at each what is wrong."""

from __future__ import annotations

import shlex
import time
from collections.abc import Callable, Iterator
from contextlib import closing

from edgeopt.boards.address import Address
from edgeopt.boards.checks import Check, checks
from edgeopt.boards.complaints import ANOTHER, LEAST_PYTHON, NEEDED
from edgeopt.boards.facts import stated
from edgeopt.boards.identity import IMAGE
from edgeopt.boards.probes import probe
from edgeopt.boards.runner import RunnerBoard
from edgeopt.boards.transports import Transport
from edgeopt.core import plugins
from edgeopt.core.errors import BoardError, ConfigError, HostKeyError, LoginError
from edgeopt.core.profile import DeviceProfile
from edgeopt.runtimes import litert, onnxruntime

FIRST_TELEMETRY = (1, 29)
"""ONNX Runtime that looks a telemetry host up when it is imported."""

ASK_PYTHON = "import struct, sys; print('%d.%d.%d %d' % (sys.version_info[:3] + (struct.calcsize('P') * 8,)))"
"""Also for a Python 2."""


def examine(name: str, address: Address, profile: DeviceProfile | None) -> Iterator[Check]:
    """Every check as it is made; ends early where nothing further can be looked at.

    Args:
        name: What the user calls the board.
        profile: Of the device that it is meant to be; None if nobody said.

    Raises:
        ConfigError: The address makes no sense.
    """
    transport = None
    for step in _entering(address):
        if isinstance(step, Check):
            yield step
        else:
            transport = step
    if transport is None:
        return
    with closing(transport):
        try:
            found, now_s = stated(probe(transport), address.model), time.time()
            python = _python(transport, address)
        except BoardError as error:
            yield Check("shell", "fail", error.message, "facts are read with shell commands", error.hint)
            return
        states = list(checks(found, profile, now_s))
        yield from states
        yield python
        hopeless = [state for state in [*states, python] if state.verdict == "fail" and state.name in BEFORE]
        if hopeless:
            return
        yield _runtime(name, profile, lambda: transport)


BEFORE = ("userland", "home", "disk", "Python")
"""Without these the runtime cannot be tried."""


def _entering(address: Address) -> Iterator[Check | Transport]:
    """Reach it, know it, log in: a check for each, and the open transport last."""
    module = plugins.load("transports", address.scheme)
    offer = getattr(module, "offered_keys", None)
    reach, known = "a board that cannot be reached pauses a study", "another machine may answer in its place"
    if offer:
        try:
            host, _ = offer(address)
        except BoardError as error:
            yield Check("reachable", "fail", error.message, reach, error.hint)
            return
        yield Check("reachable", "ok", f"{host} answers as an SSH server", reach)
    login = "edgeopt logs in with a key, and never asks for a password"
    try:
        transport: Transport = module.connect(address)
    except HostKeyError as error:
        yield Check("host key", "fail", error.message, known, error.hint)
        return
    except (BoardError, ConfigError) as error:
        if offer:
            yield Check("host key", "ok", "known", known)
        step = "login" if isinstance(error, (LoginError, ConfigError)) else "connection"
        yield Check(step, "fail", error.message, login, error.hint)
        return
    if offer:
        yield Check("host key", "ok", "known", known)
        yield Check("login", "ok", "with a key", login)
    yield transport


def _python(transport: Transport, address: Address) -> Check:
    command = address.python or "python3"
    why = "the on-board runner is a Python program"
    if address.scheme == "local" and not address.python:
        import sys

        command = sys.executable
    result = transport.run(f'{shlex.quote(command)} -c "{ASK_PYTHON}"', 60.0)
    said = result.stdout.split()
    if result.status or len(said) != 2:
        last = (result.stderr.strip().splitlines() or [f"exit status {result.status}"])[-1]
        return Check("Python", "fail", f"{command} does not run: {last}", why, ANOTHER)
    version, bits = said
    if tuple(map(int, version.split(".")))[:2] < LEAST_PYTHON:
        return Check("Python", "fail", f"{command} is {version}, needed is {NEEDED}", why, ANOTHER)
    if bits == "32":
        return Check("Python", "fail", f"{command} is a 32-bit program", why, IMAGE)
    return Check("Python", "ok", f"{command} is {version}, {bits}-bit", why)


def _runtime(name: str, profile: DeviceProfile | None, reuse: Callable[[], Transport]) -> Check:
    why = "it runs the models"
    try:
        with RunnerBoard(name, profile.name if profile else "local", reuse) as board:
            runtimes = dict(board.facts.runtimes)
    except BoardError as error:
        return Check("runtime", "fail", error.message, why, error.hint)
    said = ", ".join(f"{runtime} {version}" for runtime, version in runtimes.items())
    installed = runtimes.get(onnxruntime.NAME)
    if installed is None:
        fix = f"python3 -m pip install '{onnxruntime.INSTALL}'"
        return Check(
            "runtime", "warn", f"{said}, no {onnxruntime.NAME}", f"{litert.NAME} runs .tflite only", fix
        )
    if tuple(int(part) for part in installed.split(".")[:2] if part.isdigit()) >= FIRST_TELEMETRY:
        fix = f"python3 -m pip install '{onnxruntime.INSTALL}'"
        return Check("runtime", "warn", said, "1.29 and later look up a telemetry host at import", fix)
    return Check("runtime", "ok", said, why)
