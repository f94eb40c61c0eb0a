"""`--wait`: a board that another has, or that is off, is waited for and said to be."""

from __future__ import annotations

import contextlib
import threading
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from edgeopt.boards import profiles
from edgeopt.boards.address import Address
from edgeopt.boards.lease import Claim
from edgeopt.boards.runner import RunnerBoard
from edgeopt.boards.transports import ssh
from edgeopt.cli import checked
from edgeopt.core.errors import ConfigError
from edgeopt.core.measurement import Protocol
from tests.boards.tiny import chain
from tests.cli.conftest import Ran
from tests.sshd import Sshd

Measure = Callable[..., Ran]
EVE = Claim(owner="eve@lab", command="edgeopt optimize e.onnx")


@pytest.fixture
def measure(run: Callable[..., Ran], folder: Path, monkeypatch: pytest.MonkeyPatch) -> Measure:
    """`edgeopt measure` of a small model on a board, for a moment."""
    protocol = Protocol(
        "final", processes=2, min_runs=8, window_s=0.02, slice_s=0.01, stop_ratio=None, deadline_s=60
    )
    monkeypatch.setattr(profiles, "protocols", lambda profile, effort, setting: {"final": protocol})
    (folder / "net.onnx").write_bytes(chain(2))
    return lambda url, *flags: run(
        "measure", "net.onnx", "--device", "local", "--threads", 1, "--board", url, *flags
    )


def test_a_board_that_is_off_is_waited_for_only_where_that_is_asked(measure: Measure, sshd: Sshd) -> None:
    sshd.kill()
    ran = measure(sshd.url)
    assert (ran.code, "trying for" in ran.err) == (4, False)
    ran = measure(sshd.url, "--wait", "1s")
    assert ran.code == 4
    assert "is unreachable; trying for 1 s more: cannot connect to" in ran.err
    switch = threading.Timer(1.0, sshd.start)
    switch.start()
    ran = measure(sshd.url, "--wait", "60")
    switch.join()
    assert ran.code == 0, ran.err
    assert "is unreachable; trying for 60 s more: cannot connect to" in ran.err


def test_a_board_that_another_has_is_waited_for(measure: Measure, sshd: Sshd) -> None:
    board = RunnerBoard("b", "local", lambda: ssh.connect(Address.parse(sshd.url)), claim=EVE)
    with contextlib.closing(board):
        ran = measure(sshd.url, "--wait", "0")
        assert ran.code == 4
        assert "is in use by eve@lab" in ran.err
        leaving = threading.Timer(2.0, board.close)
        leaving.start()
        ran = measure(sshd.url, "--wait", "1m")
        leaving.join()
        assert ran.code == 0, ran.err
        assert "edgeopt optimize e.onnx" in ran.err
        assert "waiting for at most 60 s" in ran.err


def test_a_board_without_the_runtime_is_not_waited_for(measure: Measure, sshd: Sshd) -> None:
    begun = time.monotonic()
    ran = measure(f"{sshd.address}?identity={sshd.identity}&python=/nowhere/python3", "--wait", "10m")
    assert (ran.code, "there is no such Python" in ran.err) == (4, True)
    assert time.monotonic() - begun < 60


def test_a_wait_is_a_time() -> None:
    assert [checked.wait_s(text) for text in (None, "90", "10m", "0")] == [None, 90.0, 600.0, 0.0]
    with pytest.raises(ConfigError, match="--wait 'long' is not a duration"):
        checked.wait_s("long")
