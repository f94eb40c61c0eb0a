"""Measuring through the on-board runner on this machine."""

from __future__ import annotations

import os
import subprocess
import time
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from edgeopt.boards import connected
from edgeopt.boards.requests import job
from edgeopt.boards.runner import RunnerBoard
from edgeopt.core.errors import CommandError, ConfigError
from edgeopt.runtimes.onnxruntime import Session
from tests.boards.runners import SCREEN, board, measured, parent_of, state, when_measuring
from tests.boards.tiny import FEEDS, artifact, chain
from tests.sshd import descendants


def test_a_board_says_who_it_is(local: RunnerBoard) -> None:
    assert local.facts.machine == os.uname().machine
    assert local.facts.kernel == os.uname().release
    assert local.facts.cores == len(os.sched_getaffinity(0))
    assert local.facts.userland_bits == 64
    assert local.facts.runtimes["onnxruntime"].startswith("1.")
    assert local.facts.ram_bytes
    assert local.facts.ram_bytes > 2**30
    assert local.is_this_machine
    assert local.provenance == "measured"


def test_a_measurement_is_complete_and_relates_to_the_control(local: RunnerBoard, tmp_path: Path) -> None:
    control, slow = artifact(tmp_path, chain(2)), artifact(tmp_path, chain(24))
    results = [measured(result) for result in local.measure([control, slow], FEEDS, SCREEN)]
    for result in results:
        assert len(result.latencies_ms) >= 64
        # Of the 200 ms asked for, calls and clocks take a little, and others who share the core.
        assert sum(result.latencies_ms) >= (50 if result.contended else 150)
        assert result.latency.low <= result.p50_ms <= result.latency.high
        assert result.latency.provenance == "measured"
        assert len(result.process_cold_start_ms) == 1
        assert result.load_ms
        assert result.first_inference_ms
        assert result.cold_start_ms
        assert result.cold_start_ms > result.load_ms + result.first_inference_ms
        assert result.peak_rss_bytes
        assert result.model_rss_bytes is not None
        assert 0 < result.model_rss_bytes < result.peak_rss_bytes
        assert result.cpu_utilization is not None
        assert 0 < result.cpu_utilization <= 1
        assert (result.conditions, result.protocol, result.drift) == ("bench", "screen", None)
    assert results[0].control_ratio == 1.0
    assert results[1].control_ratio is not None
    assert results[1].control_ratio > 2  # twelve times the arithmetic
    assert not results[1].stopped_early


def test_the_hopeless_are_stopped_early_but_never_the_control(local: RunnerBoard, tmp_path: Path) -> None:
    slow, fast = artifact(tmp_path, chain(24)), artifact(tmp_path, chain(2))
    protocol = replace(SCREEN, window_s=1.0, stop_ratio=2.0)
    control, hopeless = (measured(r) for r in local.measure([fast, slow], FEEDS, protocol))
    assert hopeless.stopped_early
    assert sum(hopeless.latencies_ms) < 500
    assert not control.stopped_early
    control, faster = (measured(r) for r in local.measure([slow, fast], FEEDS, protocol))
    assert not control.stopped_early
    assert not faster.stopped_early


def test_who_is_dominated_in_three_processes_is_measured_no_further(
    local: RunnerBoard, tmp_path: Path
) -> None:
    control, slow = artifact(tmp_path, chain(2)), artifact(tmp_path, chain(96))
    protocol = replace(SCREEN, name="final", processes=5, window_s=0.05, dominated_ratio=1.25)
    first, second = (measured(result) for result in local.measure([control, slow], FEEDS, protocol))
    assert (len(first.process_cold_start_ms), first.stopped_early) == (5, False)
    assert (len(second.process_cold_start_ms), second.stopped_early) == (3, True)


def test_processes_end_when_they_agree_well_enough_and_the_interval_says_that_it_was_looked_at(
    local: RunnerBoard, tmp_path: Path
) -> None:
    protocol = replace(SCREEN, name="rank", processes=6, min_runs=16, window_s=0.05, enough_ci=50.0)
    (result,) = (measured(one) for one in local.measure([artifact(tmp_path, chain(2))], FEEDS, protocol))
    assert len(result.process_cold_start_ms) == 3
    assert len(result.latencies_ms) >= (16 if result.contended else 96)
    never = replace(protocol, enough_ci=1e-9)
    (result,) = (measured(one) for one in local.measure([artifact(tmp_path, chain(2))], FEEDS, never))
    assert len(result.process_cold_start_ms) == 6


def test_every_process_of_the_final_stage_is_fresh(local: RunnerBoard, tmp_path: Path) -> None:
    protocol = replace(SCREEN, name="final", processes=3, min_runs=20, window_s=0.05)
    artifacts = [artifact(tmp_path, chain(2)), artifact(tmp_path, chain(4))]
    for result in map(measured, local.measure(artifacts, FEEDS, protocol)):
        assert 0 < len(result.process_p50_ms) <= len(result.process_cold_start_ms) == 3
        assert len(set(result.process_cold_start_ms)) == 3
        assert result.latency.low < result.p50_ms < result.latency.high


def test_only_one_model_is_awake_at_a_time(local: RunnerBoard, tmp_path: Path) -> None:
    awake: list[int] = []

    def watch(first: int) -> None:
        runner = parent_of(first)
        for _ in range(300):
            states = [state(pid) for pid in descendants(runner)]
            if len(states) == 2:
                awake.append(sum(state not in ("T", "Z", None) for state in states))
            time.sleep(0.001)

    spinning = [artifact(tmp_path, chain(layers), threads=2) for layers in (2, 4)]
    with when_measuring(watch, processes=2):
        local.measure(spinning, FEEDS, replace(SCREEN, window_s=1.0))
    assert awake
    # A stopped process shows as stopped once it was scheduled to stop, which a busy machine delays;
    # if nobody were stopped, two would be awake at every look.
    assert sum(count > 1 for count in awake) <= 0.5 * len(awake)


def test_profile_names_the_nodes(local: RunnerBoard, tmp_path: Path) -> None:
    times = local.profile(artifact(tmp_path, chain(4)), FEEDS, 10)
    assert set(times) == {"mm0", "mm1", "mm2", "mm3"}
    assert all(0 < time_ms < 100 for time_ms in times.values())


def test_infer_computes_on_the_board_what_the_host_computes(local, tmp_path: Path, monkeypatch) -> None:
    from edgeopt.boards import feeds

    monkeypatch.setattr(feeds, "CHUNK_SAMPLES", 4)  # so that ten samples are three journeys
    model = artifact(tmp_path, chain(4))
    samples = [{"x": np.full((1, 256), number, np.float32)} for number in range(10)]
    session = Session(model.path, {"threads": 1})
    answers = list(local.infer(model, iter(samples)))
    assert len(answers) == 10
    for sample, answer in zip(samples, answers, strict=True):
        np.testing.assert_array_equal(answer[0], session.run(sample)[0])


def test_an_artifact_of_an_unknown_runtime_is_refused(local: RunnerBoard, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="cannot run ncnn models"):
        local.measure([replace(artifact(tmp_path, chain(2)), runtime="ncnn")], FEEDS, SCREEN)


def test_clean_removes_what_the_board_keeps(tmp_path: Path) -> None:
    with board("local") as opened:
        opened.measure([artifact(tmp_path, chain(2))], FEEDS, SCREEN)
        assert opened.clean() == 2  # the model and its inputs
        assert list((Path.home() / ".cache/edgeopt/objects").iterdir()) == []


def test_a_small_disk_is_never_filled_by_a_long_study(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    disk = tmp_path / "disk"
    disk.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=16m", "tmpfs", disk], check=True)
    try:
        monkeypatch.setenv("HOME", str(disk))
        monkeypatch.setattr(connected, "CLEAN_AFTER_BYTES", 2e6)
        with board("local") as opened:
            for layers in range(10, 22):  # 2.6 MB to 5.5 MB each, 48 MB in all
                (result,) = opened.measure([artifact(tmp_path, chain(layers))], FEEDS, SCREEN)
                measured(result)
            kept = sum(path.stat().st_size for path in (disk / ".cache/edgeopt/objects").iterdir())
        assert kept < 13e6
    finally:
        subprocess.run(["umount", "-l", disk], check=True)


def test_whatever_a_runtime_prints_does_not_corrupt_the_answers(tmp_path: Path, monkeypatch) -> None:
    (tmp_path / "noisy").mkdir()
    (tmp_path / "noisy" / "onnxruntime.py").write_text(
        "import os, sys\nprint('chatter')\nos.write(1, b'more of it\\n{}\\n')\n"
        "sys.path = [p for p in sys.path if not p.endswith('noisy')]\ndel sys.modules['onnxruntime']\n"
        "import onnxruntime\n"
    )
    monkeypatch.setenv("PYTHONPATH", str(tmp_path / "noisy"))
    with board("local") as opened:
        (result,) = opened.measure([artifact(tmp_path, chain(2))], FEEDS, SCREEN)
        measured(result)


def test_counting_is_refused_where_nothing_is_emulated(local: RunnerBoard, tmp_path: Path) -> None:
    model = artifact(tmp_path, chain(2))
    with local._reachable() as dialogue, pytest.raises(CommandError, match="no arm64 board: x86_64"):
        dialogue.ask("count", 60.0, job=job(model, "0" * 64, ["x"]))
    (result,) = local.measure([model], FEEDS, SCREEN)
    measured(result)
