"""Faults that need a machine of their own: a virtual board, reached as any board over SSH, not counted.

The emulated core is slow, so the stand-in runtime is all that runs there: what these faults show does not
depend on what a model computes. Numbers of such a board mean nothing, and none is looked at.
"""

from __future__ import annotations

import contextlib
import os
import time
from pathlib import Path

from edgeopt.boards.address import Address
from edgeopt.boards.board import Feeds
from edgeopt.boards.lease import Claim
from edgeopt.boards.runner import RunnerBoard
from edgeopt.boards.transports import ssh
from edgeopt.boards.virtual.running import Running
from edgeopt.core.artifact import Artifact
from edgeopt.core.digest import file_digest
from edgeopt.core.errors import ConnectError, EdgeoptError
from edgeopt.core.measurement import Measurement, Protocol
from tests.boards.tiny import FEEDS
from tests.faults.bench import STAND_IN, Results

SHORT = Protocol(
    "screen", processes=1, min_runs=2, window_s=0.02, slice_s=0.01, stop_ratio=None, deadline_s=240
)
LONG = Protocol("screen", processes=1, min_runs=2, window_s=1e6, slice_s=0.5, stop_ratio=None, deadline_s=600)


class Guest:
    """A virtual board with the stand-in runtime."""

    def __init__(self, running: Running, folder: Path) -> None:
        self.running, self.folder = running, folder
        self.say(f"mkdir -p stand_in && cat > stand_in/onnxruntime.py <<'END'\n{_stand_in()}\nEND")
        line = 'STAND_IN_ALONE=1 PYTHONPATH=$HOME/stand_in exec python3 "$@"'
        self.say(f"printf '%s\\n' '#!/bin/sh' '{line}' > python && chmod +x python; sync")
        self._board: RunnerBoard | None = None

    def say(self, command: str, root: bool = False, timeout_s: float = 240.0) -> str:
        """Run a command in the guest."""
        url = self.running.root_url if root else self.running.url
        with contextlib.closing(ssh.connect(Address.parse(url))) as shell:
            return shell.run(command, timeout_s).stdout.strip()

    @property
    def board(self) -> RunnerBoard:
        if self._board is None:
            home = self.say("pwd")
            address = Address.parse(f"{self.running.url}&python={home}/python")
            claim = Claim(owner="ann@desk", command="edgeopt optimize")
            self._board = RunnerBoard("kitchen", "rpi4", lambda: ssh.connect(address), claim=claim)
        return self._board

    def model(self, text: str = "always mark", megabytes: int = 0) -> Artifact:
        path = self.folder / f"{text.replace(' ', '-')}-{megabytes}.onnx"
        path.write_bytes(f"FAULT {text} \n".encode() + os.urandom(megabytes << 20))
        return Artifact("key", path, file_digest(path), path.stat().st_size, session_options={"threads": 1})

    def measure(self, *artifacts: Artifact, protocol: Protocol = SHORT, feeds: Feeds = FEEDS) -> Results:
        return self.board.measure(artifacts or [self.model()], feeds, protocol)

    def patiently(self, *artifacts: Artifact, protocol: Protocol = SHORT, limit_s: float = 400.0) -> Results:
        """As a study: again while it is unreachable."""
        end = time.monotonic() + limit_s
        while True:
            try:
                return self.measure(*artifacts, protocol=protocol)
            except ConnectError:
                if time.monotonic() > end:
                    raise
                time.sleep(1.0)

    def is_loaded(self) -> bool:
        """Whether a model that marks it has run since the last time that one asked."""
        with contextlib.suppress(EdgeoptError):
            return self.say("rm /dev/shm/running 2>/dev/null && echo yes") == "yes"
        return False

    def leftovers(self) -> str:
        """Processes of the runner, its temporary files, halves of uploads."""
        end = time.monotonic() + 60
        find = "find .cache/edgeopt/tmp -type f 2>/dev/null; find .cache -name '*.part'"
        while (left := self.say(f"pgrep -af edgeopt/runner[/]; {find}")) and time.monotonic() < end:
            time.sleep(1)
        return left

    def close(self) -> None:
        if self._board:
            self._board.close()


def _stand_in() -> str:
    return (STAND_IN / "onnxruntime.py").read_text()


def measured(results: Results) -> None:
    assert [type(result) for result in results] == [Measurement] * len(results), results
