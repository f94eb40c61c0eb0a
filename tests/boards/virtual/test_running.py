"""The record of a board, and the lock that says that it is in use."""

from __future__ import annotations

import json
import os
import socket
from pathlib import Path

import pytest

from edgeopt.boards.virtual import locks, machine
from edgeopt.boards.virtual.qmp import Qmp
from edgeopt.boards.virtual.running import RECORD, Running
from edgeopt.core.errors import BoardError, ConnectError


def board(folder: Path) -> Running:
    return Running("virtual:rpi4", "rpi4", os.getpid(), 1, 2222, 1 << 30, True, "version", folder)


def test_a_record_with_more_in_it_is_read(tmp_path: Path) -> None:
    board(tmp_path).write()
    record = json.loads((tmp_path / RECORD).read_text(encoding="utf-8"))
    (tmp_path / RECORD).write_text(json.dumps(record | {"colour": "green"}), encoding="utf-8")
    assert Running.read(tmp_path) == board(tmp_path)


@pytest.mark.parametrize("text", ["", "{}", "[]", '{"name": "virtual:rpi4"}'])
def test_a_record_with_less_is_none(text: str, tmp_path: Path) -> None:
    (tmp_path / RECORD).write_text(text, encoding="utf-8")
    assert Running.read(tmp_path) is None


def test_who_is_gone_can_be_waited_for_and_connected_to_again(tmp_path: Path) -> None:
    """A `ConnectError` pauses a study; any other error of the board would end it."""
    gone = board(tmp_path)  # this process, but begun at another time
    with pytest.raises(ConnectError, match="virtual:rpi4 is gone"), gone.lock():
        pass


def test_a_folder_that_somebody_unknown_holds_is_not_waited_for_without_end(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(machine, "DYING_S", 0.2)
    held = locks.take(machine.boards_folder() / "rpi4" / "alive.lock")
    try:
        with pytest.raises(BoardError, match="that this edgeopt does not know"):
            machine._new_folder("rpi4")
    finally:
        os.close(held)
    folder, alive = machine._new_folder("rpi4")  # its holder has gone
    os.close(alive)
    assert list(folder.iterdir()) == [folder / "alive.lock"]


def test_a_lock_that_cannot_be_looked_at_counts_as_held(tmp_path: Path) -> None:
    assert locks.is_free(tmp_path / "none.lock")
    (tmp_path / "loop.lock").symlink_to("loop.lock")
    assert not locks.is_free(tmp_path / "loop.lock")


def test_an_emulator_that_does_not_listen_yet_is_waited_for(tmp_path: Path) -> None:
    """Its socket's file is there before that: between the two nobody is refused for good."""
    path = tmp_path / "qmp"
    assert Qmp.if_listening(path) is None
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as server:
        server.bind(str(path))
        assert Qmp.if_listening(path) is None
        with pytest.raises(BoardError, match="does not answer: Connection refused"):
            Qmp(path)
