"""Who is suspected when a board reboots, and who is found guilty."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import pytest

from edgeopt.boards.reboots import Reboots, run_key
from edgeopt.core.artifact import Artifact
from edgeopt.core.errors import BoardError, CandidateFailed, CandidateRebooted, ConnectError

CONTROL, GOOD, BAD = (
    Artifact("key", Path(name), name * 64, 1, session_options={"threads": 1}) for name in "abc"
)


class Board:
    """Boots anew whenever one of `guilty` runs; `together` only if more than one does."""

    def __init__(self, *guilty: Artifact, together: bool = False) -> None:
        self.reboots, self.boot, self.ran = Reboots(), 0, []
        self.guilty, self.together = guilty, together

    def measure(self, *artifacts: Artifact) -> list[str]:
        while True:
            self.reboots.connected(f"boot {self.boot}")
            try:
                results = self.reboots.measured(artifacts, self._run, "kitchen")
                return [
                    type(one).__name__ if isinstance(one, CandidateFailed) else str(one) for one in results
                ]
            except ConnectError:
                continue

    def _run(self, artifacts: Sequence[Artifact]) -> list[str]:  # type: ignore[override]
        self.ran.append([artifact.path.name for artifact in artifacts])
        with self.reboots.running([run_key(one) for one in artifacts[1:] or artifacts]):
            if any(one in self.guilty for one in artifacts) and (len(artifacts) > 1 or not self.together):
                self.boot += 1
                raise ConnectError("gone")
        return [artifact.path.name for artifact in artifacts]


def test_who_reboots_the_board_alone_fails_alone() -> None:
    board = Board(BAD)
    assert board.measure(CONTROL, GOOD, BAD) == ["a", "b", "CandidateRebooted"]
    assert board.ran == [["a", "b", "c"], ["b"], ["c"], ["a", "b"]]
    assert board.measure(CONTROL, BAD) == ["a", "CandidateRebooted"]  # and is not tried a third time


def test_a_lost_connection_without_a_reboot_says_nothing_against_anybody() -> None:
    reboots = Reboots()
    for _ in range(5):
        reboots.connected("the same boot")
        with pytest.raises(ConnectError), reboots.running([run_key(GOOD)]):
            raise ConnectError("cable")
    reboots.connected("the same boot")
    assert not reboots.suspects(run_key(GOOD))


def test_a_board_that_does_not_tell_its_boots_suspects_nobody() -> None:
    reboots = Reboots()
    for boot in (None, "one", None):
        with pytest.raises(ConnectError), reboots.running([run_key(GOOD)]):
            raise ConnectError("gone")
        reboots.connected(boot)
    assert not reboots.suspects(run_key(GOOD))


def test_the_control_that_reboots_the_board_leaves_others_without_one() -> None:
    board = Board(CONTROL)
    assert board.measure(CONTROL) == ["CandidateRebooted"]


def test_a_board_that_reboots_whatever_runs_is_at_fault_itself() -> None:
    board = Board(BAD, together=True)
    with pytest.raises(BoardError, match="again and again") as fault:
        board.measure(CONTROL, BAD)
    assert not isinstance(fault.value, ConnectError)
    assert not issubclass(CandidateRebooted, BoardError)
