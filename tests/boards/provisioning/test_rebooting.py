"""A board is rebooted on demand, by who has it, and until it is back."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator

import pytest

from edgeopt.boards.address import Address
from edgeopt.boards.dialogue import Dialogue
from edgeopt.boards.lease import Claim
from edgeopt.boards.provisioning.provision import reboot
from edgeopt.boards.transports import ssh
from edgeopt.core.errors import BoardError, BusyError, ConnectError
from tests.boards.provisioning.boards import Board
from tests.faults.bench import at_once

pytestmark = pytest.mark.timeout(900)

BOOT_ID = "cat /proc/sys/kernel/random/boot_id"
SLOW_SYSTEMD = (
    "mkdir -p /run/systemd/system /usr/local/sbin; cd /usr/local/sbin; "
    "printf '#!/bin/sh\\ntouch /run/going; (sleep 20; busybox reboot -f) > /dev/null 2>&1 < /dev/null &\\n' "
    "> systemctl; "
    "chmod +x systemctl; sync; "
)
"""A stand-in, for the emulated machine has no systemd: it answers at once, and goes down a while later."""


@contextlib.contextmanager
def measuring(board: Board, owner: str) -> Iterator[str]:
    """Somebody has the board, of this boot."""
    with contextlib.closing(ssh.connect(Address.parse(board.running.url))) as there:
        dialogue = Dialogue(there.start_runner(), "kitchen")
        try:
            Claim(owner=owner, command="edgeopt measure").take(dialogue, "kitchen")
            yield there.run(BOOT_ID).stdout
        finally:
            dialogue.close()


def test_a_board_is_rebooted_and_waited_for(board: Board) -> None:
    url = board.running.root_url
    boot = board.root(BOOT_ID)
    reboot(Address.parse(url), None)
    assert board.root(BOOT_ID) != boot
    with pytest.raises(BoardError, match="needs root"):
        reboot(Address.parse(board.running.url), None)


@pytest.mark.long  # it goes down slowly
def test_a_board_is_rebooted_by_one_who_has_it_until_it_is_gone(board: Board) -> None:
    url = board.running.root_url
    board.root(SLOW_SYSTEMD)
    boot = board.root(BOOT_ID)
    with measuring(board, "bob@lab"), pytest.raises(BusyError, match="in use by bob@lab"):
        reboot(Address.parse(url), None)
    assert board.root(BOOT_ID) == boot

    refused: list[str] = []

    def try_to_measure() -> None:
        """Again and again, while it goes down."""
        with contextlib.suppress(ConnectError):
            while True:
                with pytest.raises(BusyError) as busy, measuring(board, "bob@lab"):
                    pass
                refused.append(busy.value.message)

    with at_once(lambda: "going" in board.root("ls /run"), try_to_measure):
        reboot(Address.parse(url), None)
    assert refused
    assert board.root(BOOT_ID) != boot
    with measuring(board, "bob@lab") as now:  # nothing of the lease has outlived the boot
        assert now != boot
