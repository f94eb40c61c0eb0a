"""Energy: whose it is, when it cannot be said, and the whole way from a board's runner to a figure.

The meters here are stand-ins: made-up samples, and a program that follows what the runner really does.
"""

from __future__ import annotations

import importlib.util
import os
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest

from edgeopt.boards.address import Address
from edgeopt.boards.metering import energy, sampling
from edgeopt.boards.metering.link import Link, beside, start, talk
from edgeopt.boards.meters import Example, Sample, Settings
from edgeopt.boards.runner import RunnerBoard
from edgeopt.core import plugins
from edgeopt.core.errors import CommandError, ConfigError
from edgeopt.core.measurement import Measurement, Protocol
from edgeopt.core.profile import DeviceProfile, Fact
from edgeopt.core.quantity import Quantity
from edgeopt.testing import meters as conformance
from tests.boards.tiny import FEEDS, artifact, chain
from tests.sshd import Sshd, descendants

ROOT = Path(__file__).parent.parent.parent
STANDIN = Path(__file__).with_name("standin_meter.py")
RANK = Protocol("rank", processes=2, min_runs=10, window_s=5.2, slice_s=1.0, stop_ratio=None, deadline_s=120)
SCREEN = replace(RANK, name="screen", processes=1, window_s=0.3)
BRIEF = replace(RANK, window_s=2.0, slice_s=0.5)
"""Long enough where `brief_windows_do`."""


def planted() -> ModuleType:
    """The benchmark that plants faults into meters."""
    path = ROOT / "benchmarks" / "planted_meter_lag.py"
    spec = importlib.util.spec_from_file_location(path.stem, path)
    assert spec
    assert spec.loader
    module = importlib.util.module_from_spec(spec)
    sys.modules[path.stem] = module  # its dataclasses look there
    spec.loader.exec_module(module)
    return module


@pytest.fixture(scope="module")
def bench() -> Iterator[ModuleType]:
    yield planted()
    sys.modules.pop("planted_meter_lag")


@pytest.mark.parametrize("plant", ["lag", "smear", "lag that grows", "another board's meter"])
def test_a_meter_that_lags_is_found_out(plant: str, bench: ModuleType) -> None:
    trials = [bench.trial(plant, seed) for seed in range(100, 106)]
    assert [trial for trial in trials if not trial.right] == []


@pytest.mark.parametrize("plant", ["clean", "clean, averaging a little", "clean, another clock"])
def test_a_good_meter_is_right_within_its_error(plant: str, bench: ModuleType) -> None:
    trials = [bench.trial(plant, seed) for seed in range(100, 106)]
    assert [trial for trial in trials if not trial.right] == []


NOTHING = Measurement(Quantity(1.0, "ms", 1.0, 1.0, "measured", "clock"), cpu_utilization=0.5)


def judged(bench: ModuleType, samples: list[Sample], made) -> list[Measurement]:
    metered = energy.Metered(samples, made.before, made.after, "pmic", 0.08, same_clock=True)
    return energy.added([NOTHING, NOTHING], made.models, metered)


def test_energies_carry_their_source_error_and_net(bench: ModuleType) -> None:
    random = np.random.default_rng(1)
    made = bench.board(random)
    for result, true_mj in zip(judged(bench, bench.shown(made, random), made), made.true_mj, strict=True):
        assert result.energy_mj
        assert result.net_energy_mj
        assert result.power_w
        assert (result.energy_mj.unit, result.energy_mj.source, result.energy_mj.provenance) == (
            "mJ", "pmic", "measured",
        )  # fmt: skip
        assert 0.08 <= result.energy_mj.relative_error < 0.1
        share = made.watts[500] / result.power_w.value  # idle, half a second into the first pattern
        assert result.net_energy_mj.value == pytest.approx(true_mj * (1 - share), rel=0.05)
        assert len(result.process_energy_mj) == 1


def test_a_time_that_processes_disagree_on_is_in_the_error_of_an_energy_not_of_a_power(
    bench: ModuleType,
) -> None:
    random = np.random.default_rng(1)
    made = bench.board(random)
    samples = bench.shown(made, random)
    known, *_ = judged(bench, samples, made)
    unsure = replace(NOTHING, latency=Quantity(1.0, "ms", 0.9, 1.1, "measured", "clock"))
    metered = energy.Metered(samples, made.before, made.after, "pmic", 0.08, same_clock=True)
    wide, *_ = energy.added([unsure, unsure], made.models, metered)
    assert known.energy_mj and wide.energy_mj and known.power_w and wide.power_w  # noqa: PT018 - all are there
    assert wide.power_w == known.power_w
    assert wide.energy_mj.relative_error == pytest.approx(
        np.hypot(known.energy_mj.relative_error, 0.1), rel=1e-6
    )
    assert wide.net_energy_mj.relative_error > known.net_energy_mj.relative_error  # type: ignore[union-attr]


def test_processes_that_draw_differently_are_as_many_as_there_are_not_as_their_turns() -> None:
    """Three levels of power, each shown by many turns: 18 turns tell no more than three processes."""
    turns = [[(level, 1.0)] * 6 for level in (2.0, 2.2, 2.4)]
    assert energy._standard_error(turns) == pytest.approx(4.303 * 0.2 / 3**0.5, rel=1e-3)
    assert energy._standard_error(turns[:1]) == 0.0
    assert energy._standard_error([[(2.0, 1.0)], [(2.0, 1.0)]]) is None


def test_an_idle_board_that_changed_makes_no_net_energy(bench: ModuleType) -> None:
    random = np.random.default_rng(2)
    made = bench.board(random)
    warmer = [Sample(s.t_s, s.power_w + (0.3 if s.t_s > 15 else 0.0)) for s in bench.shown(made, random)]
    for result in judged(bench, warmer, made):
        assert (result.energy_mj, result.net_energy_mj, result.power_w) == (None, None, None)
        assert "W before and" in str(result.energy_note)


def test_few_samples_make_no_energy(bench: ModuleType) -> None:
    random = np.random.default_rng(3)
    made = bench.board(random)
    for result in judged(bench, bench.shown(made, random)[::8], made):
        assert result.energy_mj is None
        assert result.energy_note


def test_a_meter_that_fell_silent_makes_no_energy(bench: ModuleType) -> None:
    random = np.random.default_rng(4)
    made = bench.board(random)
    gap = [s for s in bench.shown(made, random) if not 8 < s.t_s < 14]
    assert all("fell silent" in str(r.energy_note) or "samples in" in str(r.energy_note)
               for r in judged(bench, gap, made))  # fmt: skip


def test_a_short_window_has_no_energy_and_plants_nothing() -> None:
    link = Link(Settings("csv", address="/none.csv"))
    with beside(link, SCREEN) as taken:
        assert taken.fields == {}
    (result,) = taken.added([NOTHING], {"models": [{}]})
    assert isinstance(result, Measurement)
    assert result.energy_mj is None
    assert "too short" in str(result.energy_note)


def profile(**power: float) -> DeviceProfile:
    facts = {name: Fact(value, "W", "test", "low") for name, value in power.items()}
    return DeviceProfile("test", "Test", {"power": facts})


def test_without_a_meter_the_profiles_model_speaks_and_says_so() -> None:
    link = Link.of(None, profile(model_idle_w=2.0, model_k_w=4.0), Address.parse)
    assert link
    assert link.source == "model"
    with beside(link, SCREEN) as taken:
        assert taken.fields == {}
    (result,) = taken.added([NOTHING], {"models": [{}]})
    assert isinstance(result, Measurement)
    assert result.energy_mj
    assert (result.energy_mj.value, result.energy_mj.source) == (4.0, "model")
    assert result.energy_mj.relative_error == pytest.approx(0.25)


def test_a_modelled_energy_is_not_told_of_a_board_that_waits_or_does_other_work() -> None:
    link = Link.of(None, profile(model_idle_w=2.0, model_k_w=4.0), Address.parse)
    with beside(link, SCREEN) as taken:
        (result,) = taken.added([replace(NOTHING, conditions="app")], {"models": [{}]})
    assert isinstance(result, Measurement)
    assert (result.energy_mj, result.power_w) == (None, None)
    assert "neither waiting nor other work" in str(result.energy_note)


def test_a_modelled_energy_has_the_noise_of_the_processes_that_it_follows() -> None:
    link = Link.of(None, profile(model_idle_w=2.0, model_k_w=4.0), Address.parse)
    with beside(link, SCREEN) as taken:
        (result,) = taken.added([replace(NOTHING, process_p50_ms=(0.9, 1.0, 1.1))], {"models": [{}]})
    assert isinstance(result, Measurement)
    assert result.process_energy_mj == pytest.approx((3.6, 4.0, 4.4))


def test_without_a_meter_and_a_model_nothing_is_said() -> None:
    assert Link.of(None, profile(), Address.parse) is None
    with pytest.raises(ConfigError, match="no model of this device's power"):
        Link.of(Settings("model"), profile(), Address.parse)


@contextmanager
def standin(file: Path, pid: int, lag_s: float) -> Iterator[None]:
    process = subprocess.Popen([sys.executable, STANDIN, file, str(pid), str(lag_s)])
    try:
        end = time.monotonic() + 20
        while not (file.is_file() and file.read_text().count("\n") > 1):
            assert time.monotonic() < end
            time.sleep(0.05)
        yield
    finally:
        process.kill()
        process.wait()


@pytest.fixture
def brief_windows_do(monkeypatch: pytest.MonkeyPatch) -> None:
    """A stand-in that switches between two powers at once is read as well in less time than a real board."""
    monkeypatch.setattr(energy, "LEAST_WINDOW_S", BRIEF.processes * BRIEF.window_s)
    monkeypatch.setattr(energy, "LEAST_SAMPLES", 40)


def opened(url: str, link: Link) -> RunnerBoard:
    address = Address.parse(url)
    transport = plugins.load("transports", address.scheme)
    return RunnerBoard(str(address), "local", lambda: transport.connect(address), power=link)


def runner_pid(board: RunnerBoard) -> int:
    return int(board._dialogue._channel._process.pid)  # type: ignore[union-attr]


def test_a_board_with_a_meter_tells_joules(tmp_path: Path, brief_windows_do: None) -> None:
    log = tmp_path / "meter.csv"
    with opened("local", Link(Settings("csv", address=str(log)))) as board:
        assert board.energy_source == "meter"
        with standin(log, runner_pid(board), 0.0):
            small, large = artifact(tmp_path, chain(2)), artifact(tmp_path, chain(24))
            results = [r for r in board.measure([small, large], FEEDS, BRIEF) if isinstance(r, Measurement)]
    assert len(results) == 2
    for result in results:
        assert result.energy_mj, result.energy_note
        assert result.power_w
        assert result.net_energy_mj
        assert 4.0 < result.power_w.value <= 5.0  # of 2 W idle and 3 W more when a thread runs
        mean_ms = result.energy_mj.value / result.power_w.value  # an inference, with what lies between two
        assert mean_ms >= result.p50_ms
        assert mean_ms == pytest.approx(np.mean(result.latencies_ms), rel=0.3, abs=0.02)
        assert result.net_energy_mj.value < result.energy_mj.value
        assert len(result.process_energy_mj) == 2


def test_a_meter_that_cannot_be_read_takes_only_the_energy(tmp_path: Path, brief_windows_do: None) -> None:
    with opened("local", Link(Settings("csv", address="/nowhere.csv"))) as board:
        (result,) = board.measure([artifact(tmp_path, chain(2))], FEEDS, BRIEF)
    assert isinstance(result, Measurement)
    assert result.p50_ms > 0
    assert (result.energy_mj, result.power_w) == (None, None)
    assert result.energy_note == (
        "the meter cannot be read: there is no recording /nowhere.csv: is the meter's program running?"
    )


def test_a_meter_on_another_machine_is_read_there(tmp_path: Path, sshd: Sshd, brief_windows_do: None) -> None:
    log = tmp_path / "meter.csv"
    link = Link(Settings("csv", address=str(log)), Address.parse(sshd.url))
    with opened("local", link) as board, standin(log, runner_pid(board), 0.4):
        (result,) = board.measure([artifact(tmp_path, chain(24))], FEEDS, BRIEF)
    assert isinstance(result, Measurement)
    assert result.energy_mj, result.energy_note
    assert 4.0 < result.power_w.value <= 5.0  # type: ignore[union-attr]
    assert result.energy_note is None  # the lag and the other clock cannot be told apart: both are taken off
    assert sshd.process
    assert not [pid for pid in descendants(sshd.process.pid) if "--sample" in cmdline(pid)]


EXAMPLES = [
    (kind, example)
    for kind in ("hwmon", "pmic", "rapl", "model")
    for example in plugins.load("meters", kind).EXAMPLES
    if example.files
]


@pytest.mark.parametrize(("kind", "example"), EXAMPLES, ids=[example.name for _, example in EXAMPLES])
def test_the_runner_reads_a_sensors_real_files(
    kind: str, example: Example, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Files laid out as the kernel's, and a script as a stand-in for `vcgencmd`."""
    conformance.lay_out(example, tmp_path)
    monkeypatch.setenv("PATH", f"{tmp_path}/bin:{os.environ['PATH']}")
    settings = replace(example.settings, root=str(tmp_path))
    with talk(Address.parse("local"), "here") as dialogue:
        start(dialogue, settings)
        time.sleep(0.6)
        told = dialogue.ask("sampled", 30.0)
    recorded = sampling.recording(told)
    assert len(recorded.readings) >= 2
    assert {reading.text for reading in recorded.readings} == {example.recording.readings[0].text}
    assert recorded.cpu_s
    watts = [sample.power_w for sample in plugins.load("meters", kind).parse(recorded, settings)]
    if kind == "model" or "counter" in example.name or kind == "rapl":
        assert not any(watts)  # a counter that stands still
    else:
        assert watts == pytest.approx([example.samples[0].power_w] * len(watts))
        assert watts


def test_a_sensor_that_is_not_there_is_told_at_once(tmp_path: Path) -> None:
    settings = Settings("hwmon", address="1-0040", shunt_ohm=0.1, root=str(tmp_path))
    with (
        talk(Address.parse("local"), "here") as dialogue,
        pytest.raises(CommandError, match="no hwmon sensor is 1-0040; there are: none"),
    ):
        start(dialogue, settings)


def cmdline(pid: int) -> str:
    try:
        return Path(f"/proc/{pid}/cmdline").read_text()
    except OSError:
        return ""


def test_a_meters_machine_that_is_not_there_takes_only_the_energy() -> None:
    link = Link(Settings("pmic"), Address.parse("ssh://nobody@127.0.0.1:1"))
    with beside(link, RANK) as taken:
        assert taken.fields == {}
    (result,) = taken.added([NOTHING], {"models": [{}]})
    assert isinstance(result, Measurement)
    assert result.energy_mj is None
    assert str(result.energy_note).startswith(
        "the meter cannot be read: the meter's host ssh://nobody@127.0.0.1:1: cannot connect to"
    )
