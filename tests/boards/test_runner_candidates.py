"""Models that fail on a board: each alone, with its own reason, and the board goes on."""

from __future__ import annotations

import os
import signal
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from edgeopt.boards.runner import RunnerBoard
from edgeopt.core.errors import CandidateFailed
from tests.boards.runners import SCREEN, board, eventually, measured, parent_of, state, when_measuring
from tests.boards.tiny import FEEDS, artifact, chain


def test_a_model_that_cannot_be_loaded_fails_alone(local: RunnerBoard, tmp_path: Path) -> None:
    good, bad = artifact(tmp_path, chain(2)), artifact(tmp_path, b"not a model")
    first, second = local.measure([good, bad], FEEDS, SCREEN)
    measured(first)
    assert isinstance(second, CandidateFailed)
    assert second.message == "cannot be loaded on the board: Protobuf parsing failed."
    first, second = local.measure([bad, good], FEEDS, SCREEN)
    assert isinstance(first, CandidateFailed)
    assert measured(second).control_ratio is None


def test_inputs_that_do_not_fit_are_the_models_failure(local: RunnerBoard, tmp_path: Path) -> None:
    (result,) = local.measure([artifact(tmp_path, chain(2))], {"x": np.ones((1, 3), np.float32)}, SCREEN)
    assert isinstance(result, CandidateFailed)
    assert result.message.startswith("cannot be run on the board: Got invalid dimensions for input: x")


def test_a_deadline_kills_the_model_and_the_board_goes_on(local: RunnerBoard, tmp_path: Path) -> None:
    good = artifact(tmp_path, chain(2))
    endless = replace(SCREEN, window_s=1e6, deadline_s=3.0)
    (result,) = local.measure([good], FEEDS, endless)
    assert isinstance(result, CandidateFailed)
    assert result.message == "took too long on the board and was killed"
    (result,) = local.measure([good], FEEDS, SCREEN)
    measured(result)


@pytest.mark.parametrize(
    ("number", "message"), [(signal.SIGSEGV, "died of SIGSEGV"), (signal.SIGKILL, "died of SIGKILL")]
)
def test_a_process_that_dies_is_the_models_failure(number: int, message: str, local, tmp_path: Path) -> None:
    endless = replace(SCREEN, window_s=1e6)
    with when_measuring(lambda pid: os.kill(pid, number)):
        (result,) = local.measure([artifact(tmp_path, chain(2))], FEEDS, endless)
    assert isinstance(result, CandidateFailed)
    assert message in result.message


def test_profile_and_infer_of_a_bad_model_are_the_models_failure(local: RunnerBoard, tmp_path: Path) -> None:
    bad = artifact(tmp_path, b"not a model")
    with pytest.raises(CandidateFailed, match="cannot be loaded"):
        local.profile(bad, FEEDS, 10)
    with pytest.raises(CandidateFailed, match="cannot be loaded"):
        list(local.infer(bad, [FEEDS]))


def test_nothing_outlives_a_runner_that_is_killed(tmp_path: Path) -> None:
    model = artifact(tmp_path, chain(2))
    seen: list[int] = []

    def kill_runner(child: int) -> None:
        seen.append(child)
        os.kill(parent_of(child), signal.SIGKILL)

    with board("local") as opened, when_measuring(kill_runner):
        # Whoever ran then is suspected of it, and tried again alone: that ends with the deadline.
        (result,) = opened.measure([model], FEEDS, replace(SCREEN, window_s=1e6, deadline_s=5))
        assert isinstance(result, CandidateFailed)
        eventually(lambda: state(seen[0]) in (None, "Z"))
