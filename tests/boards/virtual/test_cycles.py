"""The cycle model: more work, more misses and fewer threads never take less time; figures say emulated."""

import math
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from edgeopt.boards import profiles
from edgeopt.boards.virtual import counting
from edgeopt.boards.virtual.counting import CacheTraffic, Counts, Segment
from edgeopt.boards.virtual.cycles import CycleModel, cache_arguments
from edgeopt.boards.virtual.energy import LEAST_ERROR, Power
from edgeopt.core.errors import ConfigError
from edgeopt.core.profile import DeviceProfile

COUNTS = Path(__file__).parents[2] / "fixtures" / "counts" / "three_nodes_cortex_a72.counts"
BOARDS = ("rpi-zero2w", "rpi3bplus", "rpi4", "rpi5")
SHARED = settings(deadline=None, max_examples=50, suppress_health_check=[HealthCheck.function_scoped_fixture])


@pytest.fixture(scope="module")
def prices(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("cache") / "prices.sqlite"


def counts() -> Counts:
    return counting.read(COUNTS)


def model(prices: Path, device: str = "rpi4") -> CycleModel:
    return CycleModel.of(profiles.load(device), prices)


def traffic(misses: int, streamed: int, written_back: int, beyond: int) -> Segment:
    return Segment({}, misses, (CacheTraffic(misses, streamed, written_back), CacheTraffic(beyond, 0, 0)))


def without(profile: DeviceProfile, section: str, name: str) -> DeviceProfile:
    facts = {s: dict(body) for s, body in profile.facts.items()}
    del facts[section][name]
    return replace(profile, facts=facts)


def test_a_counted_run_becomes_the_board_s_milliseconds(prices: Path) -> None:
    estimate = model(prices).price(counts(), threads=1)
    assert estimate.latency.provenance == "emulated"
    assert estimate.latency.source == "cycles"
    assert estimate.latency.unit == "ms"
    assert 10 < estimate.latency.value < 100, "39 M instructions of dense arithmetic at 1.5 GHz"
    assert estimate.latency.low < estimate.latency.value < estimate.latency.high
    assert len(estimate.segments_ms) == 3
    assert sum(estimate.segments_ms) == pytest.approx(estimate.latency.value)
    assert estimate.unknown == 0


def test_the_same_counts_give_the_same_figure(prices: Path) -> None:
    assert model(prices).price(counts(), 4) == model(prices).price(counts(), 4)


@pytest.mark.parametrize("device", BOARDS)
def test_more_threads_never_take_longer_and_never_scale_beyond_the_cores(device: str, prices: Path) -> None:
    board = model(prices, device)
    run = counts() if device != "rpi5" else three_levels()
    times = [board.price(run, threads).latency.value for threads in (1, 2, 3, 4)]
    assert times == sorted(times, reverse=True)
    assert times[0] / times[3] < 4
    assert board.price(run, 9).latency == board.price(run, 4).latency
    assert board.price(run, 0).latency == board.price(run, 1).latency


def three_levels() -> Counts:
    run = counts()
    segments = tuple(replace(one, caches=(*one.caches, one.caches[-1])) for one in run.segments)
    return Counts(run.blocks, segments)


def test_a_faster_core_with_more_bandwidth_is_faster(prices: Path) -> None:
    zero, three, four = (model(prices, name).price(counts(), 4).latency.value for name in BOARDS[:3])
    five = model(prices, "rpi5").price(three_levels(), 4).latency.value
    assert zero > three > four > five


@SHARED
@given(st.floats(0, 1e9), st.floats(0, 1e9), st.integers(1, 4))
def test_more_cycles_take_longer(prices: Path, one: float, other: float, threads: int) -> None:
    board = model(prices)
    least, most = sorted((one, other))
    idle = traffic(0, 0, 0, 0)
    assert board.latency_ms(least, idle, threads) <= board.latency_ms(most, idle, threads)


@SHARED
@given(st.integers(0, 10**7), st.integers(0, 10**6), st.integers(0, 10**6), st.integers(1, 4))
def test_more_misses_take_longer(prices: Path, misses: int, beyond: int, more: int, threads: int) -> None:
    board = model(prices)
    beyond = min(beyond, misses)
    base = board.latency_ms(1e6, traffic(misses, 0, 0, beyond), threads)
    assert board.latency_ms(1e6, traffic(misses + more, 0, 0, beyond), threads) >= base
    assert board.latency_ms(1e6, traffic(misses + more, 0, 0, beyond + more), threads) >= base


def test_what_a_prefetcher_sees_coming_costs_less(prices: Path) -> None:
    board = model(prices)
    scattered = Segment({}, 0, (CacheTraffic(10**6, 0, 0), CacheTraffic(10**6, 0, 0)))
    streamed = Segment({}, 0, (CacheTraffic(10**6, 10**6, 0), CacheTraffic(10**6, 10**6, 0)))
    assert board.latency_ms(0, streamed, 1) < board.latency_ms(0, scattered, 1)


def test_lines_that_stream_from_a_shared_cache_limit_all_threads_together(prices: Path) -> None:
    levels = (CacheTraffic(10**6, 10**6, 0), CacheTraffic(0, 0, 0), CacheTraffic(0, 0, 0))
    private, shared = model(prices, "rpi5"), model(prices, "rpi4")
    assert private.stall_ms(Segment({}, 0, levels), 4) == pytest.approx(
        private.stall_ms(Segment({}, 0, levels), 1) / 4
    )
    two = Segment({}, 0, levels[:2])
    assert shared.stall_ms(two, 4) == pytest.approx(shared.stall_ms(two, 1))


def test_a_program_that_never_ran_takes_no_time(prices: Path) -> None:
    nothing = Counts({}, (Segment({}, 0, (CacheTraffic(0, 0, 0), CacheTraffic(0, 0, 0))),))
    estimate = model(prices).price(nothing, 1)
    assert estimate.latency.value == 0
    assert estimate.energy_mj is None
    assert estimate.cpu_utilization is None


@pytest.mark.parametrize("device", BOARDS)
def test_the_simulated_caches_are_the_profile_s(device: str) -> None:
    profile = profiles.load(device)
    levels = cache_arguments(profile)
    assert levels[0][0] == profile.get("cache", "l1d_bytes")
    assert len(levels) == (3 if device == "rpi5" else 2)
    for size, ways in levels:
        sets = size / 64 / ways
        assert sets == int(sets)
        assert int(sets).bit_count() == 1, "a cache has a power of two of sets"


@pytest.mark.parametrize(
    ("section", "name"),
    [
        ("emulation", "llvm_core"), ("emulation", "dram_gbs"), ("emulation", "l1_ways"),
        ("emulation", "l2_latency_ns"), ("emulation", "l2_shared"), ("emulation", "pairwise_error"),
        ("cache", "l1d_bytes"), ("cpu", "cores"),
    ],
)  # fmt: skip
def test_what_a_profile_lacks_is_named(section: str, name: str, prices: Path) -> None:
    with pytest.raises(ConfigError, match=rf"rpi4 cannot be emulated: .*{section}\.{name}"):
        CycleModel.of(without(profiles.load("rpi4"), section, name), prices)


def test_energy_is_modelled_and_says_so(prices: Path) -> None:
    estimate = model(prices).price(counts(), 4)
    assert estimate.energy_mj is not None
    assert estimate.power_w is not None
    assert (estimate.energy_mj.source, estimate.power_w.source) == ("model", "model")
    assert (estimate.energy_mj.provenance, estimate.power_w.provenance) == ("emulated", "emulated")
    # Two sources of what a busy Raspberry Pi 4 draws differ by more than a quarter.
    power = math.log((2.286 + 4.534) / 5.0)
    assert math.log(estimate.power_w.high / estimate.power_w.value) == pytest.approx(power)
    time = math.log(estimate.latency.high / estimate.latency.value)
    for end in (estimate.energy_mj.high, estimate.energy_mj.low):
        off = abs(math.log(end / estimate.energy_mj.value))
        assert off == pytest.approx(math.sqrt(time**2 + power**2)), "both, and no more than both"
    assert estimate.energy_mj.value == pytest.approx(estimate.power_w.value * estimate.latency.value)
    assert 1.6 < estimate.power_w.value < 5.5, "between idle and stress of a Raspberry Pi 4"


def test_a_board_with_one_source_of_power_figures_is_off_by_a_quarter_at_least() -> None:
    assert Power.of(profiles.load("rpi-zero2w")).error == LEAST_ERROR
    assert Power.of(profiles.load("rpi3bplus")).error == LEAST_ERROR, "5.6 W and 5.3 W"


def test_energy_falls_back_on_the_profile_s_utilization_fit_and_then_on_nothing(prices: Path) -> None:
    known = profiles.load("rpi4")
    fitted = Power.of(without(known, "emulation", "energy_per_cycle_nj"))
    assert fitted == Power(2.286, 4.534, None, pytest.approx(0.364))
    assert Power.of(without(without(known, "emulation", "energy_per_cycle_nj"), "power", "model_k_w")) is None
    latency = model(prices).price(counts(), 4).latency
    assert fitted.energy_mj(latency, 0, 1.0).value == pytest.approx((2.286 + 4.534) * latency.value)


def test_utilization_is_of_all_cores(prices: Path) -> None:
    board = model(prices)
    one, four = (board.price(counts(), threads).cpu_utilization for threads in (1, 4))
    assert one is not None
    assert four is not None
    assert one <= 0.25
    assert one < four <= 1.0
