"""The gate sees what is planted into a quiet board's windows, and refuses next to none of the clean ones."""

from __future__ import annotations

import numpy as np
import pytest

from benchmarks import planted_faults as planted

JUDGE = planted.board_judge()


def test_every_planted_fault_is_detected() -> None:
    found = planted.detected(planted.quiet_board, JUDGE, seed=1)
    assert found == dict.fromkeys(planted.FAULTS, planted.TRIALS)


@pytest.mark.parametrize("effort_runs", [133, 33])
def test_clean_windows_are_hardly_ever_refused(effort_runs: int) -> None:
    rng = np.random.default_rng(2)
    windows = [planted.quiet_board(rng, runs=effort_runs) for _ in range(200)]
    assert len(planted.false_alarms(windows, JUDGE)) <= planted.MOST_FALSE_ALARMS * len(windows)
