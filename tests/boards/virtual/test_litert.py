"""LiteRT models on a virtual board: the real arm64 LiteRT, counted and priced as ONNX Runtime is."""

from __future__ import annotations

import numpy as np
import pytest

from edgeopt.boards import profiles
from edgeopt.boards.virtual.board import VirtualBoard
from edgeopt.boards.virtual.running import Running
from edgeopt.core.errors import CandidateFailed
from edgeopt.core.measurement import Measurement
from edgeopt.runtimes.litert import Session
from tests.boards.runners import SCREEN
from tests.boards.test_runner_litert import lite
from tests.runtimes.test_litert import CONV, FEEDS, FILES


def test_it_is_counted_computes_the_same_and_fails_alone(virtual_board: Running) -> None:
    profile = profiles.load("rpi4")
    from edgeopt.boards.virtual.cycles import CycleModel

    with VirtualBoard(virtual_board, profile, CycleModel.of(profile)) as board:
        assert board.facts.runtimes["litert"]
        fast, plain, custom = board.measure(
            [lite(), lite(xnnpack=False), lite(FILES / "custom.tflite")], FEEDS, SCREEN
        )
        for result in (fast, plain):
            assert isinstance(result, Measurement), result
            assert result.latency.provenance == "emulated"
            assert 0 < result.p50_ms < 100
            assert result.model_rss_bytes is not None
        assert isinstance(custom, CandidateFailed)
        assert "ONNX_DET" in custom.message
        (answer,) = board.infer(lite(), iter([FEEDS]))
        for expected, found in zip(Session(CONV).run(FEEDS), answer, strict=True):
            np.testing.assert_allclose(found, expected, rtol=1e-4, atol=1e-5)
        with pytest.raises(CandidateFailed, match="times of single operators"):
            board.profile(lite(), FEEDS, runs=1)
