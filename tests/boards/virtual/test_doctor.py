"""What the doctor says of a virtual board, in order and with faults that are real ones there."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from edgeopt.boards import profiles
from edgeopt.boards.address import Address
from edgeopt.boards.checks import Check, wrong_clock
from edgeopt.boards.connect import connect, open_board
from edgeopt.boards.examination import examine
from edgeopt.boards.inventory import Inventory
from edgeopt.boards.transports import ssh
from edgeopt.boards.virtual import machine
from edgeopt.boards.virtual.running import Running
from edgeopt.core.errors import BoardError


@pytest.fixture
def patient(virtual_board: Running, images: Path) -> Iterator[Running]:
    """A board that a test may break."""
    board = machine.up(profiles.load("rpi4"))
    yield board
    machine.down(board)


def examined(board: Running) -> dict[str, Check]:
    return {check.name: check for check in examine("p", Address.parse(board.url), profiles.load("rpi4"))}


def failing(board: Running) -> list[str]:
    return [check.name for check in examined(board).values() if check.verdict == "fail"]


def as_root(board: Running, command: str) -> None:
    with contextlib.closing(ssh.connect(Address.parse(board.root_url))) as shell:
        assert shell.run(command, 120.0).status == 0


def test_a_board_in_order_and_its_faults(patient: Running) -> None:
    healthy = examined(patient)
    assert [check.name for check in healthy.values() if check.verdict == "fail"] == []
    assert healthy["runtime"].found.startswith("onnxruntime ")
    assert healthy["hardware"].verdict == "warn"

    as_root(patient, "date -s @864000 > /dev/null")
    rpi4 = profiles.load("rpi4")
    with open_board("p", rpi4, Address.parse(patient.url), lambda _, __: []) as opened:
        now_s = time.time()
        assert str(wrong_clock(now_s + opened.clock_error_s, now_s)).startswith("1970-01-11")
    as_root(patient, f"date -s @{time.time():.0f} > /dev/null")

    as_root(patient, "rm -rf /home/board/.cache; sync; mount -o remount,ro /")
    assert failing(patient) == ["home"]
    with pytest.raises(BoardError, match="its disk is read-only"):
        open_board("p", rpi4, Address.parse(patient.url), lambda _, __: [])
    as_root(patient, "mount -o remount,rw /")

    as_root(patient, "set -- $(df -Pk / | tail -n 1); fallocate -l $(($4 - 20000))K /home/fill")
    assert failing(patient) == ["disk"]


@pytest.mark.parametrize("device", ["rpi4", "local"])
def test_what_an_emulators_clock_says_is_not_called_measured(device: str, virtual_board: Running) -> None:
    with pytest.raises(BoardError, match="is an emulator's virtual machine") as refusal:
        connect(profiles.load(device), virtual_board.url, Inventory({}), lambda _, __: [])
    assert str(refusal.value.hint).startswith("--board virtual:rpi4 ")


def test_another_device_is_refused_naming_each_fact(virtual_board: Running) -> None:
    with pytest.raises(
        BoardError, match="is not a rpi5: its model is Raspberry Pi 4 Model B, expected"
    ) as no:
        open_board("p", profiles.load("rpi5"), Address.parse(virtual_board.url), lambda _, __: [])
    assert "its cores are 0xd08, expected 0xd0b (Cortex-A76)" in no.value.message
    assert str(no.value.hint).startswith("use --device rpi4")
