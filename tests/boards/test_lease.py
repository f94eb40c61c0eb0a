"""One user of a board at a time: real runners that take it, lose it, die and hang."""

from __future__ import annotations

import contextlib
import os
import re
import signal
import threading
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from edgeopt.boards import dialogue as dialogue_module
from edgeopt.boards import lease
from edgeopt.boards.address import Address
from edgeopt.boards.dialogue import Dialogue
from edgeopt.boards.lease import Claim
from edgeopt.boards.runner import RunnerBoard
from edgeopt.boards.transports import local, ssh
from edgeopt.core.errors import BusyError, ConnectError, LeaseLost
from edgeopt.core.measurement import Measurement, Protocol
from edgeopt.core.progress import Observer
from tests.boards.claims import ANN, BOB, new, record, runners
from tests.boards.tiny import FEEDS, artifact, chain
from tests.boards.virtual.processes import wait_until
from tests.faults.bench import at_once
from tests.sshd import Sshd, descendants

SCREEN = Protocol(
    "screen", processes=1, min_runs=8, window_s=0.1, slice_s=0.05, stop_ratio=None, deadline_s=60
)
LONG = replace(SCREEN, window_s=1e6, deadline_s=120)


class Heard(Observer):
    def __init__(self) -> None:
        self.lines: list[str] = []

    def announce(self, line: str) -> None:
        self.lines.append(line)


@pytest.fixture(autouse=True)
def busy_machine(monkeypatch: pytest.MonkeyPatch) -> None:
    """Beats that are this close together may all be late at once."""
    monkeypatch.setattr(dialogue_module, "MISSED_BEATS", 300)


@pytest.mark.parametrize(("end", "killed"), [("orders", False), ("SIGKILL", True), ("SIGTERM", True)])
def test_how_a_runner_ended_is_known_to_the_same_command_alone(
    end: str, killed: bool, talk: Callable[[], Dialogue], home: Path
) -> None:
    def ended() -> None:
        before = talk()
        before.ask("lease", 30, **dict.fromkeys(("owner", "command"), "-"), pid=1, nonce="n", ttl_s=60)
        (runner,) = [pid for pid in descendants(os.getpid()) if b"edgeopt_runner" in cmdline(pid)]
        before.close() if end == "orders" else os.kill(runner, signal.Signals[end])
        wait_until(lambda: not cmdline(runner), 30)

    ended()
    other = talk()
    assert ANN.take(other, "kitchen").killed_former is False
    other.close()
    ended()
    assert replace(ANN, nonce="n").take(talk(), "kitchen").killed_former is killed


def cmdline(pid: int) -> bytes:
    """Of a process; empty once it has ended, though nobody may have waited for it."""
    try:
        return Path(f"/proc/{pid}/cmdline").read_bytes()
    except OSError:
        return b""


def open_local(claim: Claim) -> RunnerBoard:
    return RunnerBoard("kitchen", "local", lambda: local.connect(Address.parse("local")), claim=claim)


def test_the_second_is_told_who_has_the_board_and_gets_it_afterwards(talk: Callable[[], Dialogue]) -> None:
    first, second = talk(), talk()
    token = ANN.take(first, "kitchen").token
    with pytest.raises(BusyError) as refusal:
        BOB.take(second, "kitchen")
    assert refusal.value.message.startswith("kitchen is in use by ann@desk for 0 s, since ")
    assert refusal.value.message.endswith(f": edgeopt optimize a.onnx, pid {os.getpid()}")
    assert refusal.value.exit_code == 4
    first.close()
    assert new(BOB, wait_s=30).take(second, "kitchen").token > token


def test_two_that_race_get_it_one_after_the_other(talk: Callable[[], Dialogue]) -> None:
    dialogues = [talk() for _ in range(4)]
    tokens: list[int] = []
    together = threading.Barrier(len(dialogues))

    def race(dialogue: Dialogue) -> None:
        together.wait()
        tokens.append(new(ANN, wait_s=60).take(dialogue, "kitchen").token)
        dialogue.close()

    threads = [threading.Thread(target=race, args=(dialogue,)) for dialogue in dialogues]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(tokens) == len(dialogues)
    assert tokens == sorted(set(tokens))


def test_whoever_waits_is_told_once_and_gets_the_board_of_a_holder_that_was_killed(
    talk: Callable[[], Dialogue],
) -> None:
    first = talk()
    ANN.take(first, "kitchen")
    (holder,) = runners()
    second, heard = talk(), Heard()
    with at_once(lambda: bool(heard.lines), lambda: os.kill(holder, signal.SIGKILL)):
        new(BOB, wait_s=60, observer=heard).take(second, "kitchen")
    (line,) = heard.lines
    assert "kitchen is in use by ann@desk" in line
    assert re.search(r"; waiting for at most (60|5\d) s$", line)


def test_whose_board_is_taken_away_in_mid_measurement_gets_an_error_and_no_number(
    talk: Callable[[], Dialogue], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(lease, "BEAT_S", 0.2)
    with open_local(ANN) as board:
        model = artifact(tmp_path, chain(2))
        other = talk()

        def take_away() -> None:
            wait_until(lambda: any(b"--child" in line for line in command_lines()))
            other.ask("unlock", 60, owner="bob@lab", force=True)

        thread = threading.Thread(target=take_away)
        thread.start()
        with pytest.raises(LeaseLost, match="bob@lab has taken it away") as lost:
            board.measure([model], FEEDS, LONG)
        thread.join()
        assert lost.value.exit_code == 4
        assert not isinstance(lost.value, ConnectError)  # it is not tried again
        BOB.take(other, "kitchen")


def command_lines() -> list[bytes]:
    lines = []
    for pid in descendants(os.getpid()):
        with contextlib.suppress(OSError):
            lines.append(Path(f"/proc/{pid}/cmdline").read_bytes())
    return lines


def test_whose_board_is_taken_away_between_two_measurements_is_told_at_the_next(
    talk: Callable[[], Dialogue], tmp_path: Path
) -> None:
    with open_local(ANN) as board:
        model, other = artifact(tmp_path, chain(2)), talk()
        assert isinstance(board.measure([model], FEEDS, SCREEN)[0], Measurement)
        assert "held" in other.ask("unlock", 60, owner="bob@lab")
        other.ask("unlock", 60, owner="bob@lab", force=True)
        with pytest.raises(LeaseLost):
            board.measure([model], FEEDS, SCREEN)
        assert isinstance(board.measure([model], FEEDS, SCREEN)[0], Measurement)  # it has taken it again


def test_a_runner_that_hears_nothing_more_ends_and_frees_the_board(
    talk: Callable[[], Dialogue], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(lease, "TTL_S", 1.0)
    monkeypatch.setattr(lease, "BEAT_S", 1e6)
    first = talk()
    ANN.take(first, "kitchen")
    (holder,) = runners()
    wait_until(lambda: not Path(f"/proc/{holder}/cwd").exists(), 20)
    BOB.take(talk(), "kitchen")


def test_heartbeats_keep_a_board_for_longer_than_its_time(
    talk: Callable[[], Dialogue], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(lease, "TTL_S", 1.5)
    monkeypatch.setattr(lease, "BEAT_S", 0.2)
    first = talk()
    ANN.take(first, "kitchen")
    time.sleep(4)
    with pytest.raises(BusyError):
        BOB.take(talk(), "kitchen")


def test_a_holder_that_hangs_loses_the_board_and_is_fenced_when_it_wakes(
    talk: Callable[[], Dialogue], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(lease, "TTL_S", 1.0)
    monkeypatch.setattr(lease, "BEAT_S", 0.1)
    with open_local(ANN) as board:
        (holder,) = runners()
        os.kill(holder, signal.SIGSTOP)
        monkeypatch.setattr(lease, "TTL_S", 60.0)
        new(BOB, wait_s=30).take(talk(), "kitchen")
        os.kill(holder, signal.SIGCONT)
        with pytest.raises((LeaseLost, ConnectError)) as lost:
            board.measure([artifact(tmp_path, chain(2))], FEEDS, SCREEN)
        assert "bob@lab" in lost.value.message


def test_a_command_whose_connection_broke_takes_back_what_it_had(talk: Callable[[], Dialogue]) -> None:
    first = talk()
    token = ANN.take(first, "kitchen").token
    (cut_off,) = runners()  # of which the board does not know yet
    assert ANN.take(talk(), "kitchen").token > token
    wait_until(lambda: cut_off not in runners())
    with pytest.raises(ConnectError):
        first.ask("stat", 10, objects=[])


def test_what_a_runner_that_had_stopped_has_left_goes_when_its_command_comes_back(
    talk: Callable[[], Dialogue], home: Path
) -> None:
    """It was alive when the next one began, so its folder was not yet anybody's to remove."""
    ANN.take(talk(), "kitchen")
    (stopped,) = runners()
    left = home / "board" / "tmp" / str(record()["holder"]["runner"])  # type: ignore[index]
    left.mkdir(parents=True)
    os.kill(stopped, signal.SIGSTOP)
    after = talk()
    assert after.ask("who", 30)["holder"]
    assert left.exists()
    assert ANN.take(after, "kitchen").token
    assert not left.exists()


def test_a_token_of_the_past_measures_nothing(talk: Callable[[], Dialogue]) -> None:
    dialogue = talk()
    token = ANN.take(dialogue, "kitchen").token
    for wrong in (token - 1, token + 1, 0):
        with pytest.raises(LeaseLost, match="is not that of this connection"):
            dialogue.ask("measure", 10, jobs=[], protocol={"processes": 0}, token=wrong)
    assert dialogue.ask("measure", 10, jobs=[], protocol={"processes": 0}, token=token)["models"] == []


def test_who_has_not_asked_for_a_board_cannot_measure_beside_who_has(talk: Callable[[], Dialogue]) -> None:
    first, second = talk(), talk()
    ANN.take(first, "kitchen")
    with pytest.raises(LeaseLost, match="ann@desk has it now"):
        second.ask("measure", 10, jobs=[], protocol={"processes": 0})


def test_a_reservation_lets_its_owner_through_and_ends(talk: Callable[[], Dialogue]) -> None:
    desk, other = talk(), talk()
    assert "reserved" in desk.ask("lock", 10, owner="ann@desk", why="new heat sink", for_s=3)
    with pytest.raises(BusyError, match=r"ann@desk .*reserved for . s more \(new heat sink\)"):
        BOB.take(other, "kitchen")
    assert "held" in other.ask("lock", 10, owner="bob@lab", why="", for_s=3)
    assert "held" in other.ask("unlock", 10, owner="bob@lab")
    ANN.take(desk, "kitchen")
    desk.close()
    new(BOB, wait_s=30).take(other, "kitchen")


def test_nobody_reserves_what_another_uses(talk: Callable[[], Dialogue]) -> None:
    first, second = talk(), talk()
    ANN.take(first, "kitchen")
    assert second.ask("lock", 10, owner="bob@lab", why="", for_s=60)["held"]["owner"] == "ann@desk"
    assert second.ask("who", 10)["holder"]["owner"] == "ann@desk"
    assert second.ask("who", 10)["reserved"] is None


def test_over_ssh_the_board_is_freed_when_the_connection_ends(sshd: Sshd) -> None:
    def connect() -> RunnerBoard:
        return RunnerBoard(
            "kitchen", "local", lambda: ssh.connect(Address.parse(sshd.url)), claim=new(BOB, wait_s=30)
        )

    with connect(), pytest.raises(BusyError, match="bob@lab"):
        RunnerBoard("kitchen", "local", lambda: ssh.connect(Address.parse(sshd.url)), claim=ANN)
    connect().close()
