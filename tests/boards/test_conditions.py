"""Conditions `app` and `sustained` through the on-board runner, on this machine."""

from __future__ import annotations

import json
import os
import statistics
import subprocess
import sys
import threading
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from edgeopt.boards import profiles
from edgeopt.boards.conditions import pinned_cores
from edgeopt.boards.connect import connect
from edgeopt.boards.inventory import Inventory
from edgeopt.core.conditions import Setting, parse_cpus
from edgeopt.core.errors import CommandError, ConfigError
from edgeopt.graph.workload import workload
from tests.boards.runners import SCREEN, SCRIPT, board, measured
from tests.boards.tiny import FEEDS, artifact, chain
from tests.sshd import descendants

WINDOW = replace(SCREEN, window_s=2.0, slice_s=2.0, min_runs=10)


@pytest.fixture
def local(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Any:
    monkeypatch.setenv("HOME", str(tmp_path))
    with board("local") as opened:
        yield opened


@pytest.mark.parametrize(
    ("text", "cores"), [("0", (0,)), ("0-3", (0, 1, 2, 3)), ("0,2", (0, 2)), ("4-5,7", (4, 5, 7))]
)
def test_cores_are_named_as_taskset_names_them(text: str, cores: tuple[int, ...]) -> None:
    assert parse_cpus(text) == cores


@pytest.mark.parametrize("text", ["", "a", "3-1", "-1", "0-", "0,,1"])
def test_what_names_no_cores_is_refused(text: str) -> None:
    with pytest.raises(ConfigError, match="not a list of cores"):
        parse_cpus(text)


@pytest.mark.parametrize(
    "fields",
    [
        {"rate_hz": 5.0},
        {"load": 0.3},
        {"name": "sustained", "load": 0.3},
        {"name": "app"},
        {"name": "app", "rate_hz": 0.0},
        {"name": "app", "load": 1.0},
        {"cpus": (0, 0)},
    ],
)
def test_conditions_that_make_no_sense_are_refused(fields: dict[str, Any]) -> None:
    with pytest.raises(ConfigError):
        Setting(**fields)


def test_conditions_survive_being_stored() -> None:
    from dataclasses import asdict

    setting = Setting("app", 5.0, 0.3, (0, 1))
    assert Setting.from_json(json.loads(json.dumps(asdict(setting)))) == setting
    assert Setting.from_json("bench") == Setting()
    assert str(setting) == "app (5/s, load 30%, cores 0,1)"


def test_an_applications_rate_is_kept(local: Any, tmp_path: Path) -> None:
    protocol = replace(WINDOW, setting=Setting("app", rate_hz=25.0))
    (result,) = local.measure([artifact(tmp_path, chain(2))], FEEDS, protocol)
    result = measured(result)
    assert result.conditions == "app"
    if not result.contended:  # it would go on for longer, and count only the time without others
        assert 45 <= len(result.latencies_ms) <= 52
    assert result.cpu_utilization is not None
    assert result.cpu_utilization < 0.2  # it waits for most of the time


def test_who_is_asked_for_more_than_can_be_done_lets_the_wait_count(local: Any, tmp_path: Path) -> None:
    model = artifact(tmp_path, chain(64))
    alone = measured(local.measure([model], FEEDS, WINDOW)[0])
    twice = Setting("app", rate_hz=2e3 / alone.p50_ms)
    late = measured(local.measure([model], FEEDS, replace(WINDOW, setting=twice))[0])
    assert max(late.latencies_ms) > 100 * alone.p50_ms / len(late.latencies_ms) ** 0.5
    ordered = late.latencies_ms
    assert statistics.median(ordered[-20:]) > 5 * statistics.median(ordered[:20])


def test_other_work_takes_its_share_and_leaves_nothing(local: Any, tmp_path: Path) -> None:
    model = artifact(tmp_path, chain(2))
    before = set(descendants(os.getpid()))
    busy: list[float] = []
    ended = threading.Event()

    def watch() -> None:
        before = _busy_s()
        while not ended.wait(0.5):
            now = _busy_s()
            busy.append((now - before) / 0.5)
            before = now

    watcher = threading.Thread(target=watch)
    watcher.start()
    protocol = replace(WINDOW, setting=Setting("app", rate_hz=5.0, load=0.5))
    result = measured(local.measure([model], FEEDS, protocol)[0])
    ended.set()
    watcher.join()
    assert max(busy) > 0.4 * len(os.sched_getaffinity(0))  # half of every core, at least; others may add
    assert result.conditions == "app"
    assert set(descendants(os.getpid())) <= before


def _busy_s() -> float:
    ticks = [int(word) for word in Path("/proc/stat").read_text().split("\n", 1)[0].split()[1:9]]
    return (sum(ticks) - ticks[3] - ticks[4]) / os.sysconf("SC_CLK_TCK")


def test_a_model_runs_on_the_cores_it_is_pinned_to(local: Any, tmp_path: Path) -> None:
    last = max(os.sched_getaffinity(0))
    seen: set[str] = set()
    ended = threading.Event()

    def watch() -> None:
        while not ended.wait(0.05):
            for pid in descendants(os.getpid()):
                try:
                    command = Path(f"/proc/{pid}/cmdline").read_text()
                    status = Path(f"/proc/{pid}/status").read_text()
                except OSError:
                    continue
                if "--child" in command and "Threads:\t1\n" not in status:  # the runtime is at work
                    seen.add(status.split("Cpus_allowed_list:\t")[1].split("\n")[0])

    watcher = threading.Thread(target=watch)
    watcher.start()
    model = artifact(tmp_path, chain(64), threads=2)
    measured(local.measure([model], FEEDS, replace(WINDOW, setting=Setting(cpus=(last,))))[0])
    ended.set()
    watcher.join()
    assert seen == {str(last)}


def test_only_hardware_has_conditions() -> None:
    with (
        connect(profiles.load("rpi4"), "predicted", Inventory({}), workload).board as predicted,
        pytest.raises(ConfigError, match="only hardware"),
    ):
        pinned_cores(Setting("app", load=0.3), predicted)


def test_cores_that_are_not_there_are_refused(local: Any, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="the cores of"):
        pinned_cores(Setting(cpus=(4096,)), local)
    protocol = replace(WINDOW, setting=Setting(cpus=(1000,)))
    with pytest.raises(CommandError, match="pinned to the cores"):
        local.measure([artifact(tmp_path, chain(2))], FEEDS, protocol)


SOAK = """
import importlib.util, json, sys, time
spec = importlib.util.spec_from_file_location("runner", {script!r})
runner = importlib.util.module_from_spec(spec)
spec.loader.exec_module(runner)
runner.MOST_SOAK_S, runner.STEADY_S = 10.0, 3.0
begun = time.monotonic()
runner.temperature_c = lambda: {temperature}
job = {{"model": {model!r}, "feeds": {feeds!r}, "names": ["x"]}}
job |= {{"runtime": "onnxruntime", "options": {options}}}
quiet = runner.Quiet(runner.Path("kept nowhere"))
race = runner.Race(runner.Orders(runner.Lease()), [job], {{"deadline_s": 60.0}}, quiet)
print(json.dumps(runner.soak(race, {idle_s})))
"""


@pytest.mark.parametrize(
    ("temperature", "idle_s", "least_s", "most_s"),
    [
        # A stand-in sensor: this machine has none that warms up.
        ("min(58.0, 50 + 4 * (time.monotonic() - begun))", None, 4.0, 9.0),  # warm after 2 s
        ("50 + 4 * (time.monotonic() - begun)", None, 9.9, 15.0),  # never steady
        ("None", None, 9.9, 15.0),  # no sensor: the whole time
        ("None", 1.0, 1.9, 4.5),  # was hot 1 s ago
    ],
)
def test_a_board_is_soaked_until_it_grows_no_warmer(
    tmp_path: Path, temperature: str, idle_s: float | None, least_s: float, most_s: float
) -> None:
    from edgeopt.boards import feeds
    from edgeopt.runtimes import onnxruntime

    model = artifact(tmp_path, chain(2))
    feeds.write(tmp_path / "feeds.npz", [FEEDS])
    text = SOAK.format(
        script=str(SCRIPT), temperature=temperature, model=str(model.path), feeds=str(tmp_path / "feeds.npz"),
        options=json.dumps(onnxruntime.runner_options(model.session_options)).replace("null", "None"),
        idle_s=idle_s,
    )  # fmt: skip
    process = subprocess.Popen(
        [sys.executable, "-c", text], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    assert process.stdout is not None
    soaked = json.loads(process.stdout.readline())
    process.communicate(timeout=10)
    assert least_s <= soaked["seconds"] <= most_s
    known = [c for c in soaked["temperatures_c"] if c is not None]
    assert (temperature == "None") == (not known)
