"""The on-board runner over SSH: which boards are let in, and boards that go and come back."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from edgeopt.boards.runner import RunnerBoard
from edgeopt.core.errors import BoardError, ConnectError
from tests.boards.runners import SCREEN, board, measured, when_measuring
from tests.boards.tiny import FEEDS, artifact, chain
from tests.sshd import Sshd


def test_a_python_without_the_runtime_is_refused_with_the_line_that_installs_it(sshd: Sshd) -> None:
    with pytest.raises(ConnectError, match="cannot import onnxruntime: ModuleNotFoundError") as refusal:
        board(f"{sshd.address}?identity={sshd.identity}&python=/usr/bin/python3")
    assert "/usr/bin/python3 -m pip install 'onnxruntime<1.29'" in str(refusal.value.hint)
    assert refusal.value.exit_code == 4


def test_a_board_without_that_python_is_refused(sshd: Sshd) -> None:
    with pytest.raises(ConnectError, match=r"there is no such Python .*/nowhere/python"):
        board(f"{sshd.address}?identity={sshd.identity}&python=/nowhere/python")


def test_a_board_on_loopback_is_known_to_be_this_machine(sshd: Sshd) -> None:
    with board(sshd.url) as remote:
        assert remote.is_this_machine


def test_ssh_measures_what_local_measures(sshd: Sshd, local: RunnerBoard, tmp_path: Path) -> None:
    model = artifact(tmp_path, chain(8))
    ratios = []
    with board(sshd.url) as remote:
        for _ in range(3):  # in turns, so that whatever else this machine does hits both
            (near,) = local.measure([model], FEEDS, SCREEN)
            (far,) = remote.measure([model], FEEDS, SCREEN)
            ratios.append(measured(far).p50_ms / measured(near).p50_ms)
    assert 0.5 < sorted(ratios)[1] < 2


def test_a_board_that_dies_in_mid_measurement_is_no_failed_candidate_and_can_come_back(
    sshd: Sshd, tmp_path: Path
) -> None:
    model = artifact(tmp_path, chain(2))
    assert sshd.process
    with board(sshd.url) as remote:
        with (
            when_measuring(lambda _: sshd.kill(), below=sshd.process.pid),
            pytest.raises(ConnectError),
        ):
            remote.measure([model], FEEDS, replace(SCREEN, window_s=1e6))
        with pytest.raises(ConnectError, match="Connection refused"):
            remote.measure([model], FEEDS, SCREEN)
        sshd.start()
        (result,) = remote.measure([model], FEEDS, SCREEN)
        measured(result)


def test_a_board_that_comes_back_as_another_one_is_refused(sshd: Sshd, tmp_path: Path) -> None:
    model = artifact(tmp_path, chain(2))
    with board(sshd.url) as remote:
        remote.facts = replace(remote.facts, kernel="another")
        sshd.kill()
        with pytest.raises(ConnectError):
            remote.measure([model], FEEDS, SCREEN)
        sshd.start()
        with pytest.raises(BoardError, match="is not the board that it was"):
            remote.measure([model], FEEDS, SCREEN)
