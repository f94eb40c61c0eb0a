"""The board works while the host prepares the next candidate; on this machine it never does."""

from __future__ import annotations

import threading

import pytest

from edgeopt.core.candidate import Candidate
from edgeopt.core.trial import Trial
from edgeopt.optimize.pipeline import Pipeline

TRIAL = Trial(0, Candidate.of("m", {}), "COMPLETE")


def nothing() -> None:
    """Nobody leaves early."""


def test_ahead_the_host_goes_on_while_the_board_works() -> None:
    host_went_on = threading.Event()

    def work() -> Trial:
        assert host_went_on.wait(30), "start() waited for the board"
        return TRIAL

    with Pipeline(True, nothing) as pipeline:
        pipeline.start(work)
        host_went_on.set()
        assert pipeline.result() is TRIAL


def test_not_ahead_the_work_is_done_when_start_returns() -> None:
    done = []

    def work() -> Trial:
        done.append(threading.current_thread())
        return TRIAL

    with Pipeline(False, nothing) as pipeline:
        pipeline.start(work)
        assert done == [threading.current_thread()]
        assert pipeline.result() is TRIAL


def test_one_trial_at_a_time() -> None:
    with Pipeline(False, nothing) as pipeline:
        pipeline.start(lambda: TRIAL)
        with pytest.raises(RuntimeError):
            pipeline.start(lambda: TRIAL)
        pipeline.result()


def test_what_the_work_raises_comes_out_of_result() -> None:
    def work() -> Trial:
        raise ValueError("board")

    with Pipeline(True, nothing) as pipeline:
        pipeline.start(work)
        with pytest.raises(ValueError, match="board"):
            pipeline.result()


def test_leaving_early_ends_the_work_under_way() -> None:
    gave_up = threading.Event()

    def work() -> Trial:
        assert gave_up.wait(30), "nobody gave up"
        return TRIAL

    def interrupted() -> None:
        with Pipeline(True, gave_up.set) as pipeline:
            pipeline.start(work)
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        interrupted()
