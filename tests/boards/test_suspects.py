"""Who is suspected when a board reboots or its runner is killed, and who is found guilty."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import pytest

from edgeopt.boards.suspects import Suspects, run_key
from edgeopt.core.artifact import Artifact
from edgeopt.core.errors import BoardError, CandidateFailed, CandidateRebooted, ConnectError

CONTROL, GOOD, BAD = (
    Artifact("key", Path(name), name * 64, 1, session_options={"threads": 1}) for name in "abc"
)


class Board:
    """Boots anew, or loses its runner, whenever one of `guilty` runs; `together` if more than one does."""

    def __init__(self, *guilty: Artifact, together: bool = False, kills: bool = False) -> None:
        self.suspects, self.boot, self.ran = Suspects(), 0, []
        self.kills, self.was_killed = kills, False
        self.guilty, self.together = guilty, together

    def measure(self, *artifacts: Artifact) -> list[str]:
        while True:
            self.suspects.connected(f"boot {self.boot}", self.was_killed)
            self.was_killed = False
            try:
                results = self.suspects.measured(artifacts, self._run, "kitchen")
                return [
                    type(one).__name__ if isinstance(one, CandidateFailed) else str(one) for one in results
                ]
            except ConnectError:
                continue

    def _run(self, artifacts: Sequence[Artifact]) -> list[str]:  # type: ignore[override]
        self.ran.append([artifact.path.name for artifact in artifacts])
        with self.suspects.running([run_key(one) for one in artifacts[1:] or artifacts]):
            if any(one in self.guilty for one in artifacts) and (len(artifacts) > 1 or not self.together):
                self.boot += not self.kills
                self.was_killed = self.kills
                raise ConnectError("gone")
        return [artifact.path.name for artifact in artifacts]


def test_who_reboots_the_board_alone_fails_alone() -> None:
    board = Board(BAD)
    assert board.measure(CONTROL, GOOD, BAD) == ["a", "b", "CandidateRebooted"]
    assert board.ran == [["a", "b", "c"], ["b"], ["c"], ["a", "b"]]
    assert board.measure(CONTROL, BAD) == ["a", "CandidateRebooted"]  # and is not tried a third time


def test_who_kills_the_runner_alone_fails_alone() -> None:
    board = Board(BAD, kills=True)
    assert board.measure(CONTROL, GOOD, BAD) == ["a", "b", "CandidateKilledRunner"]
    assert board.ran == [["a", "b", "c"], ["b"], ["c"], ["a", "b"]]
    assert board.measure(CONTROL, BAD) == ["a", "CandidateKilledRunner"]


def test_a_runner_that_is_killed_whatever_runs_is_no_models_fault() -> None:
    board = Board(BAD, together=True, kills=True)
    with pytest.raises(BoardError, match="kills edgeopt's runner again and again"):
        board.measure(CONTROL, BAD)


def test_a_runner_that_was_killed_while_nothing_ran_makes_nobody_suspect() -> None:
    suspects = Suspects()
    for _ in range(3):
        suspects.connected("the same boot", was_killed=True)
        assert suspects.suspicion is None


def test_a_lost_connection_without_a_reboot_says_nothing_against_anybody() -> None:
    suspects = Suspects()
    for _ in range(5):
        suspects.connected("the same boot")
        with pytest.raises(ConnectError), suspects.running([run_key(GOOD)]):
            raise ConnectError("cable")
    suspects.connected("the same boot")
    assert not suspects.suspects(run_key(GOOD))


def test_a_board_that_does_not_tell_its_boots_suspects_nobody() -> None:
    suspects = Suspects()
    for boot in (None, "one", None):
        with pytest.raises(ConnectError), suspects.running([run_key(GOOD)]):
            raise ConnectError("gone")
        suspects.connected(boot)
    assert not suspects.suspects(run_key(GOOD))


def test_the_control_that_reboots_the_board_leaves_others_without_one() -> None:
    board = Board(CONTROL)
    assert board.measure(CONTROL) == ["CandidateRebooted"]


def test_a_board_that_reboots_whatever_runs_is_at_fault_itself() -> None:
    board = Board(BAD, together=True)
    with pytest.raises(BoardError, match="again and again") as fault:
        board.measure(CONTROL, BAD)
    assert not isinstance(fault.value, ConnectError)
    assert not issubclass(CandidateRebooted, BoardError)
