"""A model larger than a board's memory is refused before it is uploaded."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from edgeopt.boards import room
from edgeopt.boards.address import Address
from edgeopt.boards.board import BoardFacts
from edgeopt.boards.connected import LONG_UPLOAD_BYTES
from edgeopt.boards.runner import RunnerBoard
from edgeopt.boards.transports import ssh
from edgeopt.core.errors import CandidateFailed
from edgeopt.core.measurement import Measurement, Protocol
from edgeopt.core.progress import Observer
from tests.boards.tiny import FEEDS, artifact, chain
from tests.sshd import Sshd

SCREEN = Protocol(
    "screen", processes=1, min_runs=16, window_s=0.1, slice_s=0.05, stop_ratio=None, deadline_s=60
)


class Heard(Observer):
    def __init__(self) -> None:
        self.lines: list[str] = []

    def announce(self, line: str) -> None:
        self.lines.append(line)


def test_what_is_larger_than_all_memory_is_refused_with_both_figures(tmp_path: Path) -> None:
    small = artifact(tmp_path, chain(1))
    large = replace(small, size_bytes=2_000_000_000)
    pi = BoardFacts("aarch64", 4, ram_bytes=1_000_000_000)
    refused = room.refusal(large, pi)
    assert refused
    assert refused.message == "its file is 2000 MB, and the board has 1000 MB of memory"
    assert room.refusal(small, pi) is None
    assert room.refusal(large, replace(pi, ram_bytes=None)) is None, "nobody knows: it may fit"


@pytest.mark.parametrize("first", [True, False])
def test_it_is_not_uploaded_and_the_others_are_measured(sshd: Sshd, tmp_path: Path, first: bool) -> None:
    good = artifact(tmp_path, chain(2))
    # There is no such file, so to ask for its upload would be another error.
    large = replace(good, path=tmp_path / "huge.onnx", sha256="0" * 64, size_bytes=1 << 45)
    with board(sshd) as opened:
        results = opened.measure([large, good] if first else [good, large], FEEDS, SCREEN)
        refused, ran = results if first else results[::-1]
        assert isinstance(refused, CandidateFailed)
        assert "35184372 MB" in refused.message
        assert isinstance(ran, Measurement)
        assert ran.control_ratio == (None if first else 1.0)
        for use in (lambda: opened.profile(large, FEEDS, 1), lambda: list(opened.infer(large, [FEEDS]))):
            with pytest.raises(CandidateFailed, match="MB of memory"):
                use()


def test_a_long_upload_is_said_and_a_short_one_is_not(sshd: Sshd, tmp_path: Path) -> None:
    heard = Heard()
    small, padded = artifact(tmp_path, chain(1)), chain(2) + b"\x00" * LONG_UPLOAD_BYTES
    with board(sshd, heard) as opened:
        opened.is_this_machine = False  # it is, behind a real SSH server
        opened.measure([small], FEEDS, SCREEN)
        assert heard.lines == []
        opened.measure([artifact(tmp_path, padded)], FEEDS, SCREEN)
        opened.measure([artifact(tmp_path, padded)], FEEDS, SCREEN)
    assert heard.lines == [f"uploading 33 MB to {sshd.url}"], "once: the second time it is there"


def board(server: Sshd, observer: Observer | None = None) -> RunnerBoard:
    address = Address.parse(server.url)
    return RunnerBoard(server.url, "local", lambda: ssh.connect(address), observer=observer)
