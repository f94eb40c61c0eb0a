"""The runner's probe of the core: what it costs, what it leaves alone, and what is known of it later."""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

from edgeopt.boards.runner import RunnerBoard
from edgeopt.boards.transports.local import LocalTransport
from edgeopt.core.artifact import Artifact
from edgeopt.core.conditions import Setting
from edgeopt.core.measurement import Measurement, Protocol
from tests.boards.runners import runner_module
from tests.boards.tiny import FEEDS, artifact, chain

SCREEN = Protocol(
    "screen", processes=1, min_runs=64, window_s=0.6, slice_s=0.2, stop_ratio=None, deadline_s=60
)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return tmp_path / "board"


@pytest.fixture
def board(folder: Path) -> Iterator[RunnerBoard]:
    with RunnerBoard("local", "local", lambda: LocalTransport(sys.executable, folder)) as opened:
        yield opened


def answer(board: RunnerBoard, model: Artifact, protocol: Protocol = SCREEN) -> dict[str, Any]:
    return board._measured([model], FEEDS, protocol)[0]


def only(answer: dict[str, Any]) -> dict[str, Any]:
    (model,) = answer["models"]
    (process,) = model["processes"]
    return dict(process)


def test_every_segment_has_a_probe_on_both_sides_and_no_inference_is_lost(
    board: RunnerBoard, tmp_path: Path
) -> None:
    process = only(told := answer(board, artifact(tmp_path, chain(4))))
    assert [sum(turn) for turn in process["segments"]] == process["slices"]
    assert sum(process["slices"]) == len(process["latencies_ms"])
    assert [len(turn) for turn in process["probes"]] == [len(turn) + 1 for turn in process["segments"]]
    assert max(map(len, process["segments"])) >= 3  # of 50 ms, in a turn of 200
    kinds = {kind for turn in process["probes"] for kind, _ in turn}
    assert set(told["loop_cycles"]) <= kinds


class Model:
    """A session that does nothing for a while."""

    def __init__(self, ms: float) -> None:
        self.ms = ms

    def run(self, _names: None, _feeds: object) -> None:
        time.sleep(self.ms / 1e3)


def taken(runner: ModuleType, ms: float, seconds: float, rate_hz: float | None = None) -> dict[str, Any]:
    """A turn of a model, in this process."""
    if runner.additions() is None:
        pytest.skip("no code is known for this processor")
    state = {"session": Model(ms), "feeds": {}, "last_ms": ms, "can_probe": True}
    return dict(runner.take(state, seconds, rate_hz, probed=True))


def test_probes_take_two_percent_of_the_time_at_most_and_are_not_the_models() -> None:
    runner = runner_module()
    told = taken(runner, ms=1.0, seconds=1.0)
    begun, end = told["span_s"]
    assert told["wall_s"] < end - begun
    assert sum(told["latencies_ms"]) <= 1e3 * told["wall_s"] + 1e-6
    assert len(told["segments"]) <= 20
    times_s = []
    for _ in range(200):
        before = time.perf_counter()
        runner.loop_cycles()
        times_s.append(time.perf_counter() - before)
    assert min(times_s) <= 0.02 * told["wall_s"] / len(told["segments"])


def test_a_slow_model_has_a_segment_for_each_inference() -> None:
    told = taken(runner_module(), ms=90.0, seconds=0.4)
    assert set(told["segments"]) == {1}
    assert len(told["probes"]) == len(told["segments"]) + 1


def test_a_measurement_that_is_disturbed_throughout_is_not_taken_for_quiet(
    folder: Path, tmp_path: Path
) -> None:
    """What the core does when nobody shares it is known from before: here, that it is three times as fast."""
    model = artifact(tmp_path, chain(4))
    with RunnerBoard("local", "local", lambda: LocalTransport(sys.executable, folder)) as board:
        answer(board, model, replace(SCREEN, window_s=1.0))
    kept = json.loads((folder / "loop_cycles.json").read_text())
    assert kept["cycles"]
    kept["cycles"] = {kind: cycles / 3 for kind, cycles in kept["cycles"].items()}
    (folder / "loop_cycles.json").write_text(json.dumps(kept))
    with RunnerBoard("local", "local", lambda: LocalTransport(sys.executable, folder)) as board:
        process = only(answer(board, model))
        assert 1.2 <= process["wall_s"] < 1.2 + 2 * SCREEN.slice_s  # twice the window, and no longer
        (result,) = board.measure([model], FEEDS, SCREEN)
    assert isinstance(result, Measurement)
    assert result.contended == 1.0
    assert result.latency_note == (
        "its core was shared with others for 100% of the time, and all of it counts"
    )
    assert result.validity is None
    assert json.loads((folder / "loop_cycles.json").read_text()) == kept


@pytest.mark.parametrize(
    "text", ["", "{", "[]", '{"epoch": []}', '{"epoch": ["other"], "cycles": {"x86_64 1": 1}}']
)
def test_what_was_kept_of_another_kernel_or_is_damaged_does_not_count(text: str, tmp_path: Path) -> None:
    path = tmp_path / "loop_cycles.json"
    path.write_text(text)
    runner = runner_module()
    known = runner.Quiet(path)
    assert known.known == {}
    known.saw([("a core", 80.0 + n) for n in range(20)])
    assert known.known == {"a core": 82.0}  # not the luckiest one
    known.keep()
    assert runner.Quiet(path).known == {"a core": 82.0}
    assert [one.name for one in tmp_path.glob("loop*")] == ["loop_cycles.json"]


def test_what_is_known_follows_quiet_measurements_and_no_disturbed_ones(tmp_path: Path) -> None:
    known = runner_module().Quiet(tmp_path / "loop_cycles.json")
    for cycles, expected in [(80.0, 80.0), (120.0, 80.0), (70.0, 70.0), (76.0, 70.6), (90.0, 70.6)]:
        known.begin()
        known.saw([("a core", cycles)] * 20)
        known.keep()
        assert known.known == {"a core": expected}


def test_nineteen_probes_say_nothing_and_a_later_measurement_begins_anew(tmp_path: Path) -> None:
    known = runner_module().Quiet(tmp_path / "missing" / "loop_cycles.json")
    known.saw([("a core", 80.0)] * 19)
    known.begin()
    known.saw([("a core", 80.0)] * 19)
    assert known.known == {}
    known.keep()  # a board that cannot be written to is measured nevertheless


def test_work_that_was_asked_for_is_no_strangers(board: RunnerBoard, tmp_path: Path) -> None:
    setting = Setting("app", load=0.3)
    process = only(answer(board, artifact(tmp_path, chain(4)), replace(SCREEN, setting=setting)))
    assert not any(process["probes"])


def test_at_a_fixed_rate_no_request_waits_for_a_probe() -> None:
    runner = runner_module()
    idle = taken(runner, ms=1.0, seconds=1.0, rate_hz=50.0)
    assert len(idle["segments"]) > 4  # there is time for probes between requests
    busy = taken(runner, ms=5.0, seconds=0.5, rate_hz=1000.0)
    assert len(busy["segments"]) == 1  # a request is always due: none waits
    assert len(busy["probes"]) == 2


def test_threads_that_may_spin_beside_the_probe_are_not_probed(monkeypatch: pytest.MonkeyPatch) -> None:
    runner = runner_module()
    if runner.additions() is None:
        pytest.skip("no code is known for this processor")
    for key in ("intra_op_num_threads", "num_threads"):
        monkeypatch.setattr(runner, "shows_siblings", lambda: True)
        assert [runner.can_probe({key: threads}) for threads in (0, 1, 4)] == [False, True, False]
        monkeypatch.setattr(runner, "shows_siblings", lambda: False)
        assert [runner.can_probe({key: threads}) for threads in (0, 1, 4)] == [True, True, True]
