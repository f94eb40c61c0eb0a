import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from edgeopt.core.measurement import Measurement
from edgeopt.core.quantity import Quantity

FIGURES = st.floats(1e-3, 1e6, allow_nan=False)
UNKNOWN = st.none()


@st.composite
def quantities(draw: st.DrawFn, unit: str) -> Quantity:
    value = draw(FIGURES)
    provenance = draw(st.sampled_from(["measured", "emulated", "predicted"]))
    return Quantity(value, unit, value * 0.9, value * 1.1, provenance, "clock")


@st.composite
def measurements(draw: st.DrawFn) -> Measurement:
    return Measurement(
        draw(quantities("ms")),
        latencies_ms=tuple(draw(st.lists(FIGURES, max_size=5))),
        process_p50_ms=tuple(draw(st.lists(FIGURES, max_size=5))),
        process_p95_ms=tuple(draw(st.lists(FIGURES, max_size=5))),
        process_cold_start_ms=tuple(draw(st.lists(FIGURES, max_size=5))),
        cold_start_ms=draw(UNKNOWN | FIGURES),
        peak_rss_bytes=draw(UNKNOWN | st.integers(0, 2**40)),
        energy_mj=draw(UNKNOWN | quantities("mJ")),
        power_w=draw(UNKNOWN | quantities("W")),
        throttled=draw(UNKNOWN | st.booleans()),
        stopped_early=draw(st.booleans()),
        contended=draw(UNKNOWN | FIGURES),
        latency_note=draw(UNKNOWN | st.text()),
        validity=draw(UNKNOWN | st.text()),
        protocol=draw(st.sampled_from(["screen", "rank", "final"])),
    )


@given(measurements())
def test_a_measurement_survives_json_apart_from_its_samples(measurement: Measurement) -> None:
    text = json.dumps(measurement.to_json())
    assert "latencies_ms" not in json.loads(text)
    assert Measurement.from_json(json.loads(text), measurement.latencies_ms) == measurement


@pytest.mark.parametrize(("n", "known"), [(63, 0), (64, 1), (129, 1), (130, 2), (661, 2), (662, 3)])
def test_a_percentile_without_enough_samples_is_unknown(n: int, known: int) -> None:
    measurement = Measurement(
        Quantity(1.0, "ms", 1.0, 1.0, "measured", "clock"), latencies_ms=tuple(float(i) for i in range(n))
    )
    percentiles = [measurement.p90_ms, measurement.p95_ms, measurement.p99_ms]
    assert [value is not None for value in percentiles] == [True] * known + [False] * (3 - known)


def test_percentiles_are_of_the_samples_in_any_order() -> None:
    samples = tuple(float((5 * i) % 1001) for i in range(1001))
    measurement = Measurement(Quantity(500, "ms", 1, 1, "measured", "clock"), latencies_ms=samples)
    assert (measurement.p90_ms, measurement.p95_ms, measurement.p99_ms) == (900, 950, 990)


def test_a_prediction_has_a_median_and_no_percentiles() -> None:
    predicted = Measurement(Quantity(17.0, "ms", 9.0, 34.0, "predicted", "roofline"))
    assert predicted.provenance == "predicted"
    assert (predicted.p50_ms, predicted.p90_ms, predicted.p99_ms) == (17.0, None, None)
    assert predicted.cold_start_ms is None
