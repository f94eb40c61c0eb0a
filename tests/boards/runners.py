"""Runners of this machine in tests: boards made of them, and what they are measuring."""

from __future__ import annotations

import contextlib
import importlib.util
import os
import threading
import time
from collections.abc import Callable
from pathlib import Path
from types import ModuleType

from edgeopt.boards.address import Address
from edgeopt.boards.runner import RunnerBoard
from edgeopt.core import plugins
from edgeopt.core.errors import CandidateFailed
from edgeopt.core.measurement import Measurement, Protocol
from edgeopt.resources import resource
from tests.sshd import descendants

SCRIPT = resource("firmware_scripts/edgeopt_runner.py")
SCREEN = Protocol(
    "screen", processes=1, min_runs=64, window_s=0.2, slice_s=0.05, stop_ratio=None, deadline_s=60
)


def board(url: str) -> RunnerBoard:
    address = Address.parse(url)
    transport = plugins.load("transports", address.scheme)
    return RunnerBoard(str(address), "local", lambda: transport.connect(address))


def measured(result: Measurement | CandidateFailed) -> Measurement:
    assert isinstance(result, Measurement), result
    return result


def runner_module() -> ModuleType:
    spec = importlib.util.spec_from_file_location("runner", SCRIPT)
    assert spec
    assert spec.loader
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@contextlib.contextmanager
def when_measuring(act: Callable[[int], object], processes: int = 1, below: int = os.getpid()):
    """Do something as soon as so many models are being measured; `act` gets the first one's process.

    Only processes that descend from `below` count: others on this machine may be measuring, too.
    """
    failed: list[BaseException] = []

    def look() -> None:
        try:
            found = eventually(lambda: pids if len(pids := _measuring(below)) >= processes else None)
            act(found[0])
        except BaseException as error:
            failed.append(error)

    thread = threading.Thread(target=look)
    thread.start()
    yield
    thread.join()
    assert not failed, failed


def _measuring(below: int) -> list[int]:
    """Children of runners that have loaded the runtime."""
    found = []
    for pid in descendants(below):
        with contextlib.suppress(OSError):
            line = Path(f"/proc/{pid}/cmdline").read_bytes()
            loaded = b"onnxruntime" in Path(f"/proc/{pid}/maps").read_bytes()
            if b"--child" in line and loaded:
                found.append(pid)
    return found


def parent_of(pid: int) -> int:
    return int(Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[1])


def state(pid: int) -> str | None:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    except OSError:
        return None


def eventually(probe: Callable[[], object], limit_s: float = 60.0):
    end = time.monotonic() + limit_s
    while time.monotonic() < end:
        if found := probe():
            return found
        time.sleep(0.002)
    raise AssertionError("it never happened")
