"""Cables, hangs, resets, memory and clocks of a machine of its own."""

from __future__ import annotations

import contextlib
import sys
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from edgeopt.boards import dialogue, lease, profiles
from edgeopt.boards.transports import _ssh_connection, ssh
from edgeopt.boards.virtual import machine
from edgeopt.core.errors import (
    CandidateKilledRunner,
    CandidateRebooted,
    CandidateStarved,
    ConnectError,
    RunnerGone,
)
from edgeopt.core.measurement import Measurement
from tests.boards.virtual.processes import wait_until
from tests.faults.bench import at_once
from tests.faults.guest import LONG, Guest, measured
from tests.faults.sample import sampled

A_WHILE = replace(LONG, window_s=30.0)
"""Long enough for a fault meanwhile, and it ends if there is none."""

Given = Callable[[Guest], type]
"""Causes a fault, and returns the class of what came of it."""


@pytest.fixture
def guest(images: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Guest]:
    monkeypatch.setattr(lease, "BEAT_S", 4.0)
    monkeypatch.setattr(dialogue, "MISSED_BEATS", 10)
    monkeypatch.setattr(ssh, "STALL_LIMIT_S", 60.0)
    monkeypatch.setattr(_ssh_connection, "ANSWER_TIMEOUT_S", 60.0)
    running = machine.up(profiles.load("rpi4"), ram_bytes=256 << 20)
    made = Guest(running, tmp_path)
    yield made
    made.close()
    machine.down(running)


def cable_pulled_at_connect(guest: Guest) -> type:
    with guest.running.qmp() as qmp:
        qmp.set_link(up=False)
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(_ssh_connection, "ANSWER_TIMEOUT_S", 3.0)
            with pytest.raises(ConnectError, match="does not answer") as error:
                ssh.connect(_address(guest))
        qmp.set_link(up=True)
    return error.type


def cable_pulled_during_upload(guest: Guest) -> type:
    large, board = guest.model("never large", megabytes=16), guest.board
    with guest.running.qmp() as qmp, pytest.MonkeyPatch.context() as patch:
        patch.setattr(ssh, "STALL_LIMIT_S", 15.0)
        with (
            at_once(lambda: _parts(guest) > 1 << 20, lambda: qmp.set_link(up=False)),
            pytest.raises(ConnectError, match=r"silent|lost|gone") as error,
        ):
            board.measure([large], {}, LONG)
        qmp.set_link(up=True)
    measured(guest.patiently(large))
    assert guest.say(f"sha256sum < .cache/edgeopt/objects/{large.sha256}").split()[0] == large.sha256
    return error.type


def cable_pulled_during_measurement(guest: Guest) -> type:
    assert guest.board
    with guest.running.qmp() as qmp:
        with (
            at_once(guest.is_loaded, lambda: qmp.set_link(up=False)),
            pytest.raises(ConnectError, match=r"silent|lost|gone") as error,
        ):
            guest.measure(protocol=LONG)
        qmp.set_link(up=True)
    return error.type


def hang(guest: Guest) -> type:
    assert guest.board
    with guest.running.qmp() as qmp, contextlib.ExitStack() as stack:
        stack.callback(qmp.cont)
        error = stack.enter_context(pytest.raises(ConnectError, match=r"silent|lost"))
        stack.enter_context(at_once(guest.is_loaded, qmp.stop))
        guest.measure(protocol=LONG)
    return error.type


def one_reset_is_nobodys_fault(guest: Guest) -> type:
    assert guest.board
    before = _boot_id(guest)
    with guest.running.qmp() as qmp, at_once(guest.is_loaded, qmp.system_reset):
        (result,) = guest.patiently(protocol=A_WHILE)
    assert _boot_id(guest) not in ("", before)
    return type(result)


def who_resets_the_board_twice_fails_alone(guest: Guest) -> type:
    """First beside the good one, then alone: whether the board is back soon or late is not told apart."""
    good, bad = guest.model("never good"), guest.model("always mark", megabytes=1)
    assert guest.board
    with guest.running.qmp() as qmp:

        def reset_twice() -> None:
            qmp.system_reset()
            wait_until(guest.is_loaded, 600)
            qmp.system_reset()

        with at_once(guest.is_loaded, reset_twice):
            first, second = guest.patiently(good, bad, protocol=A_WHILE)
    measured([first])
    assert type(second) is CandidateRebooted
    assert second.message == "rebooted the board, and again when it was tried alone"
    return type(second)


def reset_during_upload(guest: Guest) -> type:
    large, board = guest.model("never large", megabytes=16), guest.board
    with (
        guest.running.qmp() as qmp,
        at_once(lambda: _parts(guest) > 1 << 20, qmp.system_reset),
        pytest.raises(ConnectError) as error,
    ):
        board.measure([large], {}, LONG)
    measured(guest.patiently(large))
    assert guest.say(f"sha256sum < .cache/edgeopt/objects/{large.sha256}").split()[0] == large.sha256
    return error.type


def memory_ends(guest: Guest) -> type:
    """256 MB, really used up: the kernel kills the model, not the board's SSH server."""
    good, greedy = guest.model("never good"), guest.model("run eat")
    first, second = guest.measure(good, greedy)
    measured([first])
    assert "out of memory" in second.message
    return type(second)


def memory_ends_and_the_runner_is_killed_for_it(guest: Guest) -> type:
    """The kernel takes the runner instead of the model: that is no cable, and nobody else's fault."""
    good, sly = guest.model("never good"), guest.model("run offer-the-runner")
    first, second = guest.measure(good, sly)
    measured([first])
    assert int(guest.say("grep ^oom_kill /proc/vmstat").split()[1]) >= 2
    return type(second)


def clock_jumps(guest: Guest) -> type:
    assert guest.board
    jump = "date -s '2031-01-01'; sleep 1; date -s '2001-01-01'"
    with at_once(guest.is_loaded, lambda: guest.say(jump, root=True)):
        (result,) = guest.measure()
    measured([result])
    assert isinstance(result, Measurement)
    assert all(0 < latency < 60_000 for latency in result.latencies_ms)
    return type(result)


def power_is_cycled(guest: Guest) -> type:
    """The command that a configuration names resets the board, here through its emulator's socket."""
    from edgeopt.boards import power

    before = guest.say("cat /proc/sys/kernel/random/boot_id")
    program = (
        "from pathlib import Path; from edgeopt.boards.virtual.qmp import Qmp\n"
        f"with Qmp(Path({str(guest.running.folder / 'qmp')!r})) as qmp: qmp.system_reset()"
    )
    script = guest.folder / "cycle"
    script.write_text(program)
    power.cycle(f"{sys.executable} {script}", "kitchen")
    wait_until(lambda: _boot_id(guest) not in ("", before), 300)
    (result,) = guest.patiently()
    return type(result)


def slow_and_lossy_network(guest: Guest) -> type:
    """netem in the board's own kernel: 100 ms more each way out, one packet in twenty lost."""
    large = guest.model("never large", megabytes=2)
    guest.say("tc qdisc add dev eth0 root netem delay 100ms 30ms loss 5%", root=True)
    try:
        (result,) = guest.measure(large)
        assert "loss 5%" in guest.say("tc -s qdisc show dev eth0", root=True)
        assert (
            int(guest.say("tc -s qdisc show dev eth0", root=True).partition("dropped ")[2].split(",")[0]) > 0
        )
    finally:
        guest.say("tc qdisc del dev eth0 root", root=True)
    return type(result)


FAULTS: dict[Given, type] = {
    cable_pulled_at_connect: ConnectError,
    cable_pulled_during_upload: ConnectError,
    cable_pulled_during_measurement: ConnectError,
    hang: ConnectError,
    slow_and_lossy_network: Measurement,
    one_reset_is_nobodys_fault: Measurement,
    who_resets_the_board_twice_fails_alone: CandidateRebooted,
    reset_during_upload: ConnectError,
    memory_ends: CandidateStarved,
    memory_ends_and_the_runner_is_killed_for_it: CandidateKilledRunner,
    clock_jumps: Measurement,
    power_is_cycled: Measurement,
}
"""What comes of each."""


@pytest.mark.timeout(1800)
@pytest.mark.parametrize("given", sampled(FAULTS, 0))  # each takes minutes: all are long
def test_fault(given: Given, guest: Guest) -> None:
    came = given(guest)
    assert (ConnectError if came is RunnerGone else came) is FAULTS[given]
    measured(guest.patiently())
    guest.close()
    assert guest.leftovers() == ""


def _address(guest: Guest):
    from edgeopt.boards.address import Address

    return Address.parse(guest.running.url)


def _parts(guest: Guest) -> int:
    """Bytes of an upload that has not ended."""
    try:
        return int(guest.say("cat .cache/edgeopt/objects/*.part 2>/dev/null | wc -c") or 0)
    except (ConnectError, ValueError):
        return 0


def _boot_id(guest: Guest) -> str:
    try:
        return guest.say("cat /proc/sys/kernel/random/boot_id")
    except ConnectError:
        return ""
