"""What the small models' times are made into."""

from __future__ import annotations

import pytest

from edgeopt import calibrate
from edgeopt.core.errors import CandidateFailed
from edgeopt.core.measurement import Measurement
from edgeopt.core.quantity import Quantity
from edgeopt.graph import kernels


def took(ms: float, spread: float = 0.01, **more: object) -> Measurement:
    return Measurement(Quantity(ms, "ms", ms - spread, ms + spread, "measured", "clock"), **more)  # type: ignore[arg-type]


def test_a_base_is_subtracted_and_what_is_lost_in_the_noise_is_not_told() -> None:
    copy, chain = kernels.groups(1 << 20)[2:]
    found, failed = calibrate._told(copy, [took(2.0), took(3.0)])
    assert found["copy"].value == pytest.approx((1 << 20) / 1e-3 / 1e9)
    found, failed = calibrate._told(copy, [took(2.0, 0.5), took(2.1, 0.5)])
    assert (found, "lost in the noise" in failed["copy"]) == ({}, True)
    found, failed = calibrate._told(chain, [took(0.1), took(0.356)])
    assert found["dispatch"].value == pytest.approx(1.0)
    found, failed = calibrate._told(chain, [CandidateFailed("x"), took(0.356)])
    assert (found, list(failed)) == ({}, ["dispatch"])
    found, failed = calibrate._told(chain, [took(0.1), took(0.356, validity="it throttled")])
    assert failed == {"dispatch": "it throttled"}


def test_confidence_follows_the_error() -> None:
    assert [calibrate.confidence(error) for error in (0.05, 0.2, 0.5)] == ["high", "medium", "low"]


def test_power_is_only_what_a_meter_says() -> None:
    def drawn(source: str) -> Measurement:
        return took(1.0, power_w=Quantity(5.0, "W", 4.9, 5.1, "measured", source))

    assert calibrate._power(drawn("meter")) == (5.0, None)
    assert calibrate._power(drawn("model")) == (None, None)
