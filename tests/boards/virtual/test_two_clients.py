"""Two clients of one virtual board: one that dies in mid-count takes nothing from the other."""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from edgeopt.boards import profiles
from edgeopt.boards.address import Address
from edgeopt.boards.transports import ssh
from edgeopt.boards.virtual import locks
from edgeopt.boards.virtual.board import VirtualBoard
from edgeopt.boards.virtual.cycles import CycleModel
from edgeopt.boards.virtual.running import Running
from edgeopt.core.measurement import Measurement, Protocol
from tests.boards.tiny import artifact
from tests.boards.virtual.counted import squares
from tests.boards.virtual.processes import kill, python, wait_until

SCREEN = Protocol(
    "screen", processes=1, min_runs=1, window_s=2.0, slice_s=1.0, stop_ratio=None, deadline_s=120
)
EYE = {"x": np.eye(256, dtype=np.float32)}

CLIENT = """
import sys
from pathlib import Path
import numpy as np
from edgeopt.boards import profiles
from edgeopt.boards.virtual.board import VirtualBoard
from edgeopt.boards.virtual.cycles import CycleModel
from edgeopt.boards.virtual.running import Running
from edgeopt.core.artifact import Artifact
from edgeopt.core.measurement import Protocol

running = Running.read(Path(sys.argv[1]))
profile = profiles.load("rpi4")
path = Path(sys.argv[2])
model = Artifact(sys.argv[3], path, sys.argv[3], path.stat().st_size)
screen = Protocol("screen", 1, 1, 2.0, 1.0, None, 120)
with VirtualBoard(running, profile, CycleModel.of(profile)) as board:
    board.measure([model], {"x": np.eye(256, dtype=np.float32)}, screen)
"""


def opened(running: Running, prices: Path) -> VirtualBoard:
    profile = profiles.load("rpi4")
    board = VirtualBoard(running, profile, CycleModel.of(profile, prices))
    board.forget()
    return board


@pytest.fixture
def root(virtual_board: Running) -> Iterator[ssh.SshTransport]:
    with contextlib.closing(ssh.connect(Address.parse(virtual_board.root_url))) as shell:
        yield shell


def session(root: ssh.SshTransport) -> str:
    """The guest's process that serves the client which came last."""
    listed = root.run("ps -eo pid,ppid,args").stdout.splitlines()
    runners = [line.split() for line in listed if "/runner/" in line and "--child" not in line]
    return max(runners, key=lambda words: int(words[0]))[1]


@contextlib.contextmanager
def frozen(root: ssh.SshTransport, what: str) -> Iterator[None]:
    """A process of the guest does nothing for a while: its client's death is not noticed there."""
    assert root.run(f"kill -STOP {what}").status == 0
    yield
    root.run(f"kill -CONT {what}")


@pytest.mark.parametrize("noticed", [True, False], ids=["noticed by the guest", "not noticed yet"])
def test_a_client_that_is_killed_in_mid_count_voids_no_other_count(
    noticed: bool, virtual_board: Running, root: ssh.SshTransport, tmp_path: Path
) -> None:
    long, mine = artifact(tmp_path, squares(256, 16)), artifact(tmp_path, squares(256, 1))
    with opened(virtual_board, tmp_path / "prices.sqlite") as board:
        (alone,) = board.measure([mine], EYE, SCREEN)
        assert isinstance(alone, Measurement)
        board.forget()
        results: list[object] = []
        waiting = threading.Thread(target=lambda: results.extend(board.measure([mine], EYE, SCREEN)))
        other = python(CLIENT, virtual_board.folder, long.path, long.sha256)
        try:
            wait_until(lambda: list(virtual_board.counts.glob("*.part")), 240)
            waiting.start()
            with contextlib.nullcontext() if noticed else frozen(root, session(root)):
                assert not locks.is_free(virtual_board.folder / "counting.lock")
                kill(other)
                waiting.join(240)
        finally:
            kill(other)
    assert not waiting.is_alive()
    (result,) = results
    assert isinstance(result, Measurement), result
    assert result.p50_ms == pytest.approx(alone.p50_ms, rel=1e-3)
    assert list(virtual_board.counts.iterdir()) == []
