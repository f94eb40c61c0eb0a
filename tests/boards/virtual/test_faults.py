"""Virtual boards whose emulator, image or starter dies: one line says so, and nothing is left."""

from __future__ import annotations

import contextlib
import os
import signal
import socket
from collections.abc import Iterator
from pathlib import Path

import pytest

from edgeopt.boards import profiles
from edgeopt.boards.address import Address
from edgeopt.boards.transports import ssh
from edgeopt.boards.virtual import machine
from edgeopt.boards.virtual.image import Image
from edgeopt.boards.virtual.running import Running
from edgeopt.boards.virtual.saved import Saved
from edgeopt.core.errors import BoardError, ConnectError, EdgeoptError
from edgeopt.core.progress import Observer
from tests.boards.virtual.processes import is_there, kill, mentioning, python, wait_until
from tests.sshd import free_port

STARTER = """
import sys
from edgeopt.boards import profiles
from edgeopt.boards.virtual import machine
board = machine.up(profiles.load("rpi4"), keep=sys.argv[1] == "keep")
print(board.pid, board.folder, flush=True)
sys.stdin.read()
"""


class Heard(Observer):
    def __init__(self) -> None:
        self.lines: list[str] = []

    def announce(self, line: str) -> None:
        self.lines.append(line)


@pytest.fixture
def own_board(virtual_board: Running, images: Path) -> Iterator[Running]:
    """A board that a test may break."""
    board = machine.up(profiles.load("rpi4"))
    yield board
    machine.down(board)


def answers(port: int, limit_s: float) -> bool:
    """Whether an SSH server greets there in time."""
    with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port), limit_s) as client:
        client.settimeout(limit_s)
        return client.recv(4) == b"SSH-"
    return False


def damage(path: Path, at: int) -> None:
    path.chmod(0o600)
    with path.open("r+b") as stream:
        stream.seek(at)
        byte = stream.read(1)
        stream.seek(at)
        stream.write(bytes([byte[0] ^ 0xFF]))


def boards_left() -> set[str]:
    """Folders of boards, after whoever looked last has cleared up."""
    machine.running()
    return {path.name for path in machine.boards_folder().iterdir() if path.is_dir()}


def test_a_killed_emulator_is_said_and_nothing_is_left(own_board: Running) -> None:
    with contextlib.closing(ssh.connect(Address.parse(own_board.url))) as shell:
        os.kill(own_board.pid, signal.SIGKILL)
        wait_until(lambda: not own_board.alive)
        with pytest.raises(ConnectError, match="lost the connection"):
            shell.run("true")
    for attempt in (own_board.qmp, own_board.require_alive, lambda: own_board.lock().__enter__()):
        with pytest.raises(BoardError, match="is gone") as refusal:
            attempt()
        assert "\n" not in refusal.value.message
    with pytest.raises(ConnectError) as unreachable:
        ssh.connect(Address.parse(own_board.url))
    assert "\n" not in unreachable.value.message
    machine.down(own_board)
    assert boards_left() == set()


def test_a_kept_board_that_was_killed_is_not_listed_and_can_be_started_again(
    virtual_board: Running, images: Path
) -> None:
    first = machine.up(profiles.load("rpi4"), keep=True)
    assert machine.running() == [first]
    os.kill(first.pid, signal.SIGKILL)
    wait_until(lambda: not first.alive)
    assert machine.running() == []
    second = machine.up(profiles.load("rpi4"), keep=True)
    assert second.pid != first.pid
    machine.down(second)
    assert (machine.running(), boards_left()) == ([], set())


def test_a_private_board_dies_with_its_process_even_if_that_is_killed(
    virtual_board: Running, images: Path
) -> None:
    starter = python(STARTER, "private")
    assert starter.stdout
    pid, _, folder = starter.stdout.readline().strip().partition(" ")
    assert is_there(int(pid))
    assert boards_left() == {Path(folder).name}
    kill(starter)
    wait_until(lambda: not is_there(int(pid)))
    wait_until(lambda: not mentioning(folder))
    wait_until(lambda: boards_left() == set())


def test_killed_while_it_starts_a_kept_board_nothing_is_left(virtual_board: Running, images: Path) -> None:
    starter = python(STARTER, "keep")
    folder = machine.boards_folder() / "rpi4"
    wait_until(lambda: (folder / "qmp").exists())
    working = mentioning(str(folder))
    kill(starter)
    assert working
    wait_until(lambda: not mentioning(str(folder)))
    assert machine.running() == []
    wait_until(lambda: boards_left() == set())


def test_a_kept_board_outlives_its_process_and_is_there_for_the_next(
    virtual_board: Running, images: Path
) -> None:
    starters = [python(STARTER, "keep") for _ in range(2)]  # two at once get the same one
    said = [starter.stdout.readline() for starter in starters if starter.stdout]
    for starter in starters:
        kill(starter)
    assert said[0] == said[1]
    (board,) = machine.running()
    assert (board.name, board.pid) == ("virtual:rpi4", int(said[0].split()[0]))
    assert answers(board.port, 60)
    assert machine.up(profiles.load("rpi4"), keep=True) == board
    machine.down(board)
    assert not is_there(board.pid)
    assert boards_left() == set()


def test_a_number_that_another_process_has_now_is_not_killed(own_board: Running) -> None:
    import dataclasses

    another = dataclasses.replace(own_board, started_ticks=own_board.started_ticks - 1)
    another.kill()
    assert not another.alive
    assert own_board.alive


def test_a_taken_port_is_said(virtual_board: Running, images: Path) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        with pytest.raises(BoardError, match="taken") as refusal:
            machine.up(profiles.load("rpi4"), port=port)
    assert (refusal.value.message.count("\n"), str(port) in refusal.value.message) == (0, True)
    assert boards_left() == set()


def test_a_damaged_disk_is_found_and_the_image_made_again(
    copied: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with (copied / "disk").open("rb") as disk:
        somewhere = os.lseek(disk.fileno(), 100 << 20, os.SEEK_DATA)
    damage(copied / "disk", somewhere)
    for name in ("http_proxy", "https_proxy"):  # that it is made anew is seen by its asking for packages
        monkeypatch.setenv(name, f"http://127.0.0.1:{free_port()}")
    heard = Heard()
    with pytest.raises(BoardError, match="cannot download"):
        machine.up(profiles.load("rpi4"), observer=heard)
    assert heard.lines == ["the virtual board's image is damaged (disk): made again"]
    assert not copied.exists()
    assert boards_left() == set()


def test_a_damaged_saved_state_costs_one_boot(copied: Path) -> None:
    (state,) = Saved.of(Image(copied), machine.machine_of(profiles.load("rpi4"))).paths()
    damage(state, state.stat().st_size // 2)
    heard = Heard()
    board = machine.up(profiles.load("rpi4"), observer=heard)
    assert answers(board.port, 60)
    machine.down(board)
    assert heard.lines == ["the virtual board's saved state is damaged: made again"]


def test_a_missing_kernel_is_damage(copied: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (copied / "kernel").unlink()
    for name in ("http_proxy", "https_proxy"):
        monkeypatch.setenv(name, f"http://127.0.0.1:{free_port()}")
    heard = Heard()
    with pytest.raises(EdgeoptError, match="cannot download"):
        machine.up(profiles.load("rpi4"), observer=heard)
    assert "damaged (kernel)" in heard.lines[0]


def test_its_cable_can_be_pulled_it_can_hang_and_be_reset(own_board: Running) -> None:
    with own_board.qmp() as qmp:
        assert qmp.status() == "running"
        assert qmp.port() == own_board.port
        qmp.set_link(up=False)
        assert not answers(own_board.port, 2)
        qmp.set_link(up=True)
        wait_until(lambda: answers(own_board.port, 10))
        qmp.stop()
        assert qmp.status() == "paused"
        assert not answers(own_board.port, 2)
        qmp.cont()
        wait_until(lambda: answers(own_board.port, 10))
    with contextlib.closing(ssh.connect(Address.parse(own_board.url))) as shell:
        before = shell.run("cat /proc/sys/kernel/random/boot_id; echo kept > ~/file; sync ~/file").stdout
    with own_board.qmp() as qmp:
        qmp.system_reset()
    with contextlib.suppress(BoardError):
        wait_until(lambda: not answers(own_board.port, 1))
    wait_until(lambda: answers(own_board.port, 10), 120)
    with contextlib.closing(ssh.connect(Address.parse(own_board.url))) as shell:
        after = shell.run("cat /proc/sys/kernel/random/boot_id ~/file")
        assert after.stdout.splitlines()[1] == "kept"
        assert after.stdout.splitlines()[0] != before.strip()
        assert shell.run("touch ~/writable").status == 0
    with own_board.qmp() as qmp, contextlib.suppress(BoardError):
        qmp.quit()
    wait_until(lambda: not own_board.alive)


def test_the_next_board_is_pristine(own_board: Running, images: Path) -> None:
    with contextlib.closing(ssh.connect(Address.parse(own_board.url))) as shell:
        assert shell.run("ls ~; touch ~/mine; sync").stdout == ""
    machine.down(own_board)
    again = machine.up(profiles.load("rpi4"))
    with contextlib.closing(ssh.connect(Address.parse(again.url))) as shell:
        assert shell.run("ls ~").stdout == ""
    machine.down(again)
