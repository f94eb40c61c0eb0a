"""A board to break: what every fault test does before, around and after its fault."""

from __future__ import annotations

import contextlib
import hashlib
import math
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path

from edgeopt.boards.address import Address
from edgeopt.boards.lease import Claim
from edgeopt.boards.runner import RunnerBoard
from edgeopt.boards.transports import ssh
from edgeopt.core.artifact import Artifact
from edgeopt.core.digest import file_digest
from edgeopt.core.errors import BoardError, CandidateFailed, ConnectError, EdgeoptError, RunnerGone
from edgeopt.core.measurement import Measurement, Protocol
from tests.boards.tiny import FEEDS, artifact, chain
from tests.boards.virtual.processes import wait_until
from tests.e2e.program import leftovers
from tests.faults.proxy import Proxy
from tests.sshd import Sshd, descendants

STAND_IN = Path(__file__).parent / "stand_in"
SHORT = Protocol(
    "screen", processes=1, min_runs=8, window_s=0.1, slice_s=0.05, stop_ratio=None, deadline_s=20
)
A_WHILE = replace(SHORT, window_s=1.0)
LONG = Protocol("screen", processes=1, min_runs=8, window_s=1e6, slice_s=0.05, stop_ratio=None, deadline_s=90)

Results = list[Measurement | CandidateFailed]


class Bench:
    """A board on a real SSH server of this machine, behind a proxy that can do to it what a network does.

    Attributes:
        good: A model that runs.
    """

    def __init__(self, sshd: Sshd, folder: Path) -> None:
        self.sshd, self.folder = sshd, folder
        self.good = artifact(folder, chain(2))
        self.python = sshd.folder / "python"
        self.write_python(f'PYTHONPATH={STAND_IN} exec {sys.executable} "$@"')
        self.proxy = Proxy(sshd.port)
        self._board: RunnerBoard | None = None

    def write_python(self, line: str) -> None:
        """What runs as the board's Python."""
        self.python.write_text(f"#!/bin/sh\n{line}\n")
        self.python.chmod(0o755)

    @property
    def url(self) -> str:
        server = self.sshd.address.replace(str(self.sshd.port), str(self.proxy.port))
        return f"{server}?identity={self.sshd.identity}&python={self.python}"

    @property
    def address(self) -> Address:
        return Address.parse(self.url)

    def connect(self, owner: str = "ann@desk", wait_s: float = 0.0) -> RunnerBoard:
        claim = Claim(wait_s, owner=owner, command="edgeopt optimize")
        return RunnerBoard("kitchen", "local", lambda: ssh.connect(self.address), claim=claim)

    @property
    def board(self) -> RunnerBoard:
        self._board = self._board or self.connect()
        return self._board

    def model(self, text: str) -> Artifact:
        """One that does what `stand_in` understands, at a time: `load`, `run` or `always`."""
        path = self.folder / f"{hashlib.sha256(text.encode()).hexdigest()[:16]}.onnx"
        path.write_text(f"FAULT {text} \n")
        return Artifact("key", path, file_digest(path), path.stat().st_size, session_options={"threads": 1})

    def large(self, megabytes: int) -> Artifact:
        """A model that takes its time to be uploaded."""
        path = self.folder / "large.onnx"
        path.write_bytes(b"FAULT never - " + os.urandom(megabytes << 20))
        return Artifact("key", path, file_digest(path), path.stat().st_size, session_options={"threads": 1})

    def measure(self, *artifacts: Artifact, protocol: Protocol = SHORT) -> Results:
        return self.board.measure(artifacts or [self.good], FEEDS, protocol)

    def measure_patiently(self, *artifacts: Artifact, limit_s: float = 60.0) -> Results:
        """As a study does, which tries again while the board is unreachable."""
        end = time.monotonic() + limit_s
        while True:
            try:
                return self.measure(*artifacts)
            except ConnectError:
                if time.monotonic() > end:
                    raise
                time.sleep(0.2)

    @contextlib.contextmanager
    def while_measuring(self, act: Callable[[], object]) -> Iterator[None]:
        """Do something as soon as a model has been loaded."""
        assert self.board  # or the runtime that it tries when it connects would be taken for a model
        with at_once(lambda: bool(self.children()), act):
            yield

    def runners(self) -> list[int]:
        return [pid for pid, line in self._processes() if "/runner/" in line and "--child" not in line]

    def children(self) -> list[int]:
        """Processes that have loaded the runtime."""
        found = [pid for pid, line in self._processes() if "--child" in line]
        return [pid for pid in found if b"onnxruntime" in _maps(pid)]

    def _processes(self) -> list[tuple[int, str]]:
        found = []
        for pid in descendants(self.sshd.process.pid) if self.sshd.process else []:
            with contextlib.suppress(OSError):
                line = Path(f"/proc/{pid}/cmdline").read_bytes().replace(b"\0", b" ").decode()
                found.append((pid, line))
        return found

    def disconnect(self) -> None:
        if self._board:
            self._board.close()
        self._board = None

    def close(self) -> None:
        self.disconnect()
        self.proxy.close()
        while (folder := self.sshd.home / ".cache").is_mount():  # a test has failed
            subprocess.run(["umount", "-l", folder], check=True)

    def leftovers(self) -> list[str]:
        """What is on the board that should not be, once everything has had time to end."""
        end = time.monotonic() + 30
        while (left := self._leftovers()) and time.monotonic() < end:
            time.sleep(0.1)
        return left

    def _leftovers(self) -> list[str]:
        cache = self.sshd.home / ".cache" / "edgeopt"
        kept = {"objects", "runner", "loop_cycles.json"}
        files = [str(path) for path in cache.glob("*") if path.name not in kept]
        files = [path for path in files if list(Path(path).glob("*")) or not path.endswith("/tmp")]
        files += [str(path) for path in cache.glob("*/*") if path.suffix == ".part"]
        files += [str(path) for path in self.sshd.home.iterdir() if path.name != ".cache"]
        return files + leftovers(self.sshd.home)


def _maps(pid: int) -> bytes:
    try:
        return Path(f"/proc/{pid}/maps").read_bytes()
    except OSError:
        return b""


@contextlib.contextmanager
def at_once(when: Callable[[], bool], act: Callable[[], object]) -> Iterator[None]:
    """Do something in another thread as soon as something is so, however long the block takes until then."""
    failed: list[BaseException] = []
    over = threading.Event()

    def watch() -> None:
        try:
            wait_until(lambda: over.is_set() or when(), math.inf)
            if not over.is_set():
                act()
        except BaseException as error:
            failed.append(error)

    thread = threading.Thread(target=watch)
    thread.start()
    try:
        yield
    finally:
        over.set()
        thread.join()
    assert not failed, failed


def nothing(_: Bench) -> None:
    pass


@dataclass(frozen=True)
class Fault:
    """One way to fail.

    Attributes:
        suffer: Causes it and does what meets it; returns what was measured, or raises.
        expects: The class of what comes of it: an error, or `Measurement` where it must be borne.
        says: Pattern in the error's message.
        heal: Takes the cause away; what was there before must work again.
    """

    suffer: Callable[[Bench], Results | Measurement | CandidateFailed]
    expects: type[EdgeoptError] | type[Measurement]
    says: str = ""
    heal: Callable[[Bench], object] = field(default=nothing)


def check(bench: Bench, fault: Fault) -> None:
    """The right class, one line, no number where there must be none, and all well afterwards."""
    import re

    try:
        results = fault.suffer(bench)
    except EdgeoptError as error:
        results = [error]  # type: ignore[list-item]
    outcome = results[-1] if isinstance(results, list) else results
    kind = ConnectError if type(outcome) is RunnerGone else type(outcome)
    assert kind is fault.expects, outcome
    if isinstance(outcome, EdgeoptError):
        assert re.search(fault.says, outcome.message), outcome.message
        assert "\n" not in outcome.message
        assert isinstance(outcome, CandidateFailed) or outcome.exit_code == BoardError.exit_code
    else:
        assert 0 < outcome.latency.low <= outcome.p50_ms <= outcome.latency.high
    for other in results[:-1] if isinstance(results, list) else []:
        assert isinstance(other, Measurement), other  # whoever else took part is none the worse
    fault.heal(bench)
    (again,) = bench.measure_patiently(bench.good)
    assert isinstance(again, Measurement), again
    bench.disconnect()
    left = bench.leftovers()
    assert left == [], left


def stop(pid: int) -> None:
    os.kill(pid, signal.SIGSTOP)
