"""Histograms that need no range beforehand, and what the range methods make of them."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

from edgeopt.graph.calibration import Ranges, collect
from edgeopt.graph.clipping import KEPT_SHARE, METHODS, clipped
from edgeopt.graph.histogram import Histogram, Tally
from edgeopt.graph.precision._examples import ATTENTION
from edgeopt.graph.quantizing import bounded
from edgeopt.testing.precision import Bench, RandomSamples
from tests.graph import networks

FINITE = st.floats(width=32, allow_nan=False, allow_infinity=False)
VALUES = arrays.arrays(np.float32, st.integers(1, 60), elements=FINITE)


def counted(*parts: np.ndarray) -> Histogram:
    tally = Tally()
    for part in parts:
        tally.add(part)
    return tally.histogram()


@settings(deadline=None, suppress_health_check=[HealthCheck.too_slow])  # arrays are slow to draw
@given(VALUES)
def test_every_value_is_in_its_bucket(values: np.ndarray) -> None:
    low, high, counts = counted(values).intervals()
    normal = np.where(np.abs(values) < np.finfo(np.float32).tiny, 0, values.astype(np.float64))
    assert counts.sum() == len(values)
    assert (np.diff(low) >= 0).all()
    for value in normal:
        assert ((low <= value) & (value <= high)).any()
    assert (high - low <= np.maximum(np.abs(low), np.abs(high)) / 128 * 1.01).all()


@given(VALUES, VALUES)
def test_histograms_of_parts_add_up(first: np.ndarray, second: np.ndarray) -> None:
    assert counted(first, second) == counted(np.concatenate([first, second]))


@given(VALUES, st.sampled_from(METHODS))
def test_a_range_has_zero_in_it_and_stays_within_the_extremes(values: np.ndarray, method: str) -> None:
    low, high = float(values.min()), float(values.max())
    with np.errstate(over="ignore"):
        found = clipped(method, counted(values), low, high)
    assert min(low, 0) <= found[0] <= 0 <= found[1] <= max(high, 0)


def error(values: np.ndarray, low: float, high: float) -> float:
    """Mean squared error of 8-bit quantization."""
    step = (high - low) / 255
    restored = (np.clip(np.rint(values / step), np.rint(low / step), np.rint(high / step))) * step
    return float(np.square(values - restored).mean())


@pytest.mark.parametrize("kind", ["normal", "outlier", "relu", "laplace"])
def test_least_squared_error_beats_the_other_methods_and_is_near_the_optimum(kind: str) -> None:
    rng = np.random.default_rng(0)
    values = rng.laplace(size=40000) if kind == "laplace" else rng.standard_normal(40000)
    values = values.astype(np.float32)
    if kind == "outlier":
        values[0] = -1000
    if kind == "relu":
        values = np.maximum(values, 0)
    low, high = float(values.min()), float(values.max())
    kept = counted(values)
    errors = {method: error(values, *clipped(method, kept, low, high)) for method in METHODS}
    assert errors["mse"] <= 1.03 * min(errors.values())
    ends = np.linspace(0.02, 1, 99)
    optimum = min(error(values, low * a, high * a) for a in ends)
    assert errors["mse"] < 1.15 * optimum


def test_one_outlier_does_not_stretch_the_range_but_of_min_and_max() -> None:
    values = np.random.default_rng(0).standard_normal(200000).astype(np.float32)
    values[7] = 1000
    low, high = float(values.min()), 1000.0
    assert clipped("minmax", counted(values), low, high) == (low, high)
    for method in ("percentile", "entropy"):
        assert clipped(method, counted(values), low, high)[1] < 40
    # One value of 200,000 that is clipped by 1000 costs more than all others' rounding gains.
    assert clipped("mse", counted(values), low, high)[1] > 500


def test_the_percentile_covers_its_share() -> None:
    values = np.random.default_rng(0).laplace(size=100000).astype(np.float32)
    low, high = clipped("percentile", counted(values), float(values.min()), float(values.max()))
    inside = np.mean((values >= low) & (values <= high))
    assert KEPT_SHARE <= inside <= KEPT_SHARE + 2e-5


def test_histograms_come_from_one_pass_and_large_tensors_are_sampled_evenly(tmp_path: Path) -> None:
    model = networks.network(tmp_path, networks.RESIDUAL)
    ranges = collect(model, RandomSamples(model, count=2))
    assert set(ranges.histograms) == set(ranges.by_tensor)
    totals = {name: kept.intervals()[2].sum() for name, kept in ranges.histograms.items()}
    assert totals["x"] == 2 * 3 * 32 * 32
    assert 2 * 10000 < totals["c1"] <= 2 * (1 << 14)  # of 32 * 32 * 32 values
    for name, (low, high) in ((n, r) for n, r in ranges.by_tensor.items() if r is not None):
        lower, upper, _ = ranges.histograms[name].intervals()
        assert low - abs(low) / 100 <= lower[0] <= upper[-1] <= high + abs(high) / 100 + 1e-6


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("kind", ["probabilities", "mask", "bimodal"])
def test_what_is_not_rare_is_not_clipped_at_a_loss(method: str, kind: str) -> None:
    rng = np.random.default_rng(0)
    values = rng.normal(0, 8, (400, 64))
    if kind == "probabilities":
        values = np.exp(values) / np.exp(values).sum(axis=1, keepdims=True)
    elif kind == "mask":
        values[rng.random(values.shape) < 0.01] -= 1e4
    else:
        values += np.where(rng.random(values.shape) < 0.02, 500, 0)
    values = values.astype(np.float32)
    low, high = min(0.0, float(values.min())), float(values.max())
    found = error(values, *clipped(method, counted(values), low, high))
    assert found <= 1.02 * error(values, low, high)


@pytest.mark.parametrize("method", METHODS)
def test_results_of_bounded_functions_are_not_clipped(method: str, tmp_path: Path) -> None:
    """One row of 60,000 in ten thousand looks at something: fewer than `percentile` keeps."""
    model = networks.network(tmp_path, ATTENTION)
    names = bounded(model.ir.graph)
    assert names == {"n"}
    values = np.full(60000, 1e-5, np.float32)
    values[0] = 1
    ranges = Ranges({"n": (0.0, 1.0), "c": (0.0, 1.0)}, 1, {"n": counted(values), "c": counted(values)})
    assert ranges.clipped(method, names).of("n") == (0.0, 1.0)
    assert ranges.clipped("percentile", names).of("c") != (0.0, 1.0)


@pytest.mark.parametrize("method", ["percentile", "mse"])
def test_the_method_reaches_the_file_only_with_static_int8(method: str, tmp_path: Path) -> None:
    bench = Bench.of(networks.network(tmp_path, networks.RESIDUAL), tmp_path)
    static = dict(bench.everywhere("int8_static_channel").decisions)
    chosen = bench.space.candidate({**static, "quantization:ranges": method})
    built = [bench.builder.build(c) for c in (chosen, bench.space.candidate(static))]
    assert built[0].sha256 != built[1].sha256
    assert bench.error(chosen) < 0.1
    dynamic = bench.everywhere("int8_dynamic")
    other = bench.space.candidate({**dict(dynamic.decisions), "quantization:ranges": method})
    assert bench.builder.build_key(other) == bench.builder.build_key(dynamic)
