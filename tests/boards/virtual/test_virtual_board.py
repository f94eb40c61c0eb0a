"""Measuring on a virtual board: real models, counted in a real guest and priced."""

from __future__ import annotations

import contextlib
import os
import subprocess
import sys
from collections.abc import Mapping, Sequence
from dataclasses import replace
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
from onnx import TensorProto, helper, numpy_helper

from edgeopt.boards import profiles
from edgeopt.boards.virtual import kept
from edgeopt.boards.virtual.board import VirtualBoard
from edgeopt.boards.virtual.cycles import CycleModel
from edgeopt.boards.virtual.nodes import node_times
from edgeopt.boards.virtual.running import Running
from edgeopt.core.errors import ConfigError, MeasurementInvalid
from edgeopt.runtimes.onnxruntime import Session
from tests.boards.tiny import FEEDS, artifact, chain
from tests.boards.virtual.counted import SCREEN, counted, emulated


def test_a_figure_is_emulated_and_claims_nothing_that_was_not_counted(
    board: VirtualBoard, tmp_path: Path
) -> None:
    small, large = artifact(tmp_path, chain(2)), artifact(tmp_path, chain(16))
    results = [emulated(result) for result in board.measure([small, large], FEEDS, SCREEN)]
    for result in results:
        assert result.provenance == board.provenance == "emulated"
        assert result.latency.low < result.p50_ms < result.latency.high
        assert result.latencies_ms == result.process_p50_ms == result.process_cold_start_ms == ()
        assert result.p90_ms is result.cold_start_ms is result.load_ms is result.throttled is None
        assert result.peak_rss_bytes is not None
        assert result.model_rss_bytes is not None
        assert 0 <= result.model_rss_bytes < result.peak_rss_bytes
        assert result.cpu_utilization is not None
        assert 0 < result.cpu_utilization <= 1
        assert result.energy_mj is not None
        assert result.energy_mj.source == "model"
        assert result.roofline_fraction == pytest.approx(0.01 / result.p50_ms)
        assert (result.protocol, result.validity) == ("screen", None)
    assert results[0].control_ratio == 1.0
    assert results[1].control_ratio == pytest.approx(results[1].p50_ms / results[0].p50_ms)
    assert results[1].control_ratio > 3  # eight times the arithmetic
    assert board.facts.cores == 4
    assert not board.is_this_machine
    assert 0 < board.pairwise_error < 1


def test_a_model_is_the_same_twice_whatever_else_the_host_does(board: VirtualBoard, tmp_path: Path) -> None:
    model = artifact(tmp_path, chain(8))
    quiet = [counted(board, model) for _ in range(2)]
    busy = [subprocess.Popen([sys.executable, "-c", "while True: pass"]) for _ in range(os.cpu_count() or 1)]
    try:
        loaded = counted(board, model)
    finally:
        for process in busy:
            process.kill()
            process.wait()
    for instructions, ms in (quiet[1], loaded):
        assert instructions == pytest.approx(quiet[0][0], rel=1e-3)
        assert ms == pytest.approx(quiet[0][1], rel=1e-3)


def test_what_the_guest_does_not_execute_is_priced_and_not_counted_again(
    board: VirtualBoard, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    model = artifact(tmp_path, chain(8))
    first = emulated(board.measure([model], FEEDS, SCREEN)[0])
    monkeypatch.setattr(board, "_count", None)
    options = [{"threads": 1}, {"threads": 4}, {"threads": 0}, {"threads": 4, "allow_spinning": False}]
    variants = [replace(model, session_options=chosen) for chosen in options]
    one, four, default, idle = (emulated(r).p50_ms for r in board.measure(variants, FEEDS, SCREEN))
    assert one == first.p50_ms
    assert four < one
    assert default == idle == four
    with pytest.raises(TypeError):  # but this is executed
        board.measure([artifact(tmp_path, chain(8), graph_optimization_level="disable")], FEEDS, SCREEN)


def test_the_loop_that_tells_the_clock_is_code_of_the_boards_core(board: VirtualBoard) -> None:
    with board._reachable() as dialogue:
        told = dialogue.ask("conditions", 60.0)
    assert told["spin"]["kind"] == "adds"
    assert told["spin"]["per_s"] > 0
    assert told["swap_bytes"] == 0


def test_all_are_counted_as_the_one_that_they_are_compared_with(board: VirtualBoard, tmp_path: Path) -> None:
    small, large = artifact(tmp_path, chain(2)), artifact(tmp_path, chain(20))
    assert large.size_bytes > 4 * (1 << 20) > small.size_bytes
    after_small = [emulated(r).p50_ms for r in board.measure([small, large], FEEDS, SCREEN)]
    assert [emulated(r).p50_ms for r in board.measure([large, small], FEEDS, SCREEN)] == after_small[::-1]
    board.forget()
    after_large = [emulated(r).p50_ms for r in board.measure([large, small], FEEDS, SCREEN)]
    assert after_large[1] > 1.1 * after_small[0], "its weights are found in no cache"
    board.compare_with(small, FEEDS)
    assert emulated(board.measure([small], FEEDS, SCREEN)[0]).p50_ms == pytest.approx(
        after_small[0], rel=2e-3
    )


def test_what_another_process_counted_is_not_counted_again_until_it_is_forgotten(
    virtual_board: Running, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    profile, model = profiles.load("rpi4"), artifact(tmp_path, chain(8))
    pricing = CycleModel.of(profile, tmp_path / "prices.sqlite")
    with VirtualBoard(virtual_board, profile, pricing) as first:
        (before,) = first.measure([model], FEEDS, SCREEN)
    with VirtualBoard(virtual_board, profile, pricing) as second:
        taken = []
        count = second._count
        monkeypatch.setattr(second, "_count", lambda *given: taken.append(given) or count(*given))
        assert second.measure([model], FEEDS, SCREEN) == [before]
        assert not taken
        (stored,) = kept.folder().iterdir()
        stored.write_bytes(stored.read_bytes()[:-20])
        second._known.clear()
        (again,) = second.measure([model], FEEDS, SCREEN)
        assert (len(taken), emulated(again).latency) == (1, emulated(before).latency)
        second.forget()
        second.measure([model], FEEDS, SCREEN)
        assert len(taken) == 2


def test_more_threads_than_cores_are_refused(board: VirtualBoard, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="--threads 8: virtual:rpi4 has 4 cores"):
        board.measure([artifact(tmp_path, chain(2), threads=8)], FEEDS, SCREEN)


WIDTHS = (256, 1024, 64, 512)
ROWS = 128


def products(widths: Sequence[int]) -> bytes:
    """One matrix product after another; each costs as much as the widths on both of its sides multiplied."""
    names = ["x", *(f"h{i}" for i in range(1, len(widths) - 1)), "y"]
    sides = list(pairwise(widths))
    weights = [
        numpy_helper.from_array(np.full(side, 0.01, np.float32), f"w{i}") for i, side in enumerate(sides)
    ]
    nodes = [
        helper.make_node("MatMul", [names[i], f"w{i}"], [names[i + 1]], name=f"mm{i}")
        for i in range(len(sides))
    ]
    graph = helper.make_graph(
        nodes, "products",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, [ROWS, widths[0]])],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, [ROWS, widths[-1]])], weights,
    )  # fmt: skip
    return helper.make_model(
        graph, opset_imports=[helper.make_opsetid("", 13)], ir_version=8
    ).SerializeToString()


def test_each_node_costs_what_it_costs_alone_and_a_shift_by_one_segment_is_seen(
    board: VirtualBoard, tmp_path: Path
) -> None:
    alone_ms = {}
    for i, side in enumerate(pairwise(WIDTHS)):
        feeds = {"x": np.ones((ROWS, side[0]), np.float32)}
        alone_ms[f"mm{i}"] = emulated(
            board.measure([artifact(tmp_path, products(side))], feeds, SCREEN)[0]
        ).p50_ms
    assert max(alone_ms.values()) > 3 * min(alone_ms.values())
    whole, feeds = artifact(tmp_path, products(WIDTHS)), {"x": np.ones((ROWS, WIDTHS[0]), np.float32)}

    def is_right(times: Mapping[str, float]) -> bool:
        return times.keys() == alone_ms.keys() and all(
            abs(ms / alone_ms[node] - 1) < 0.2 for node, ms in times.items()
        )

    assert is_right(board.profile(whole, feeds, 1))
    (counted,) = (one for one in board._known.values() if one.events)
    segments_ms = board._pricing.price(counted.counts, 1).segments_ms
    whole_ms = emulated(board.measure([whole], feeds, SCREEN)[0]).p50_ms
    assert is_right(node_times(counted.events, segments_ms, whole_ms))
    for shift in (-2, -1, 1, 2):
        shifted = np.roll(segments_ms, shift).tolist()
        with contextlib.suppress(MeasurementInvalid):
            assert not is_right(node_times(counted.events, shifted, whole_ms)), shift


def test_the_nodes_of_a_profile_add_up_to_the_whole(board: VirtualBoard, tmp_path: Path) -> None:
    model = artifact(tmp_path, chain(8))
    times = board.profile(model, FEEDS, 10)
    assert set(times) == {f"mm{i}" for i in range(8)}
    (whole,) = board.measure([model], FEEDS, SCREEN)
    assert sum(times.values()) == pytest.approx(emulated(whole).p50_ms, rel=0.05)
    alike = [times[f"mm{i}"] for i in range(1, 8)]  # the first finds its input in no cache
    assert max(alike) < 1.2 * min(alike)


def test_the_board_computes_what_the_host_computes(board: VirtualBoard, tmp_path: Path) -> None:
    model = artifact(tmp_path, chain(2))
    samples = [{"x": np.full((1, 256), number, np.float32)} for number in range(3)]
    for sample, answer in zip(samples, board.infer(model, samples), strict=True):
        np.testing.assert_allclose(answer[0], Session(model.path).run(sample)[0], rtol=1e-5)
