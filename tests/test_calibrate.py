"""What the small models' times are made into."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from threading import Event
from typing import Any

import pytest

from edgeopt import calibrate
from edgeopt.boards import profiles
from edgeopt.boards.board import BoardFacts
from edgeopt.core.errors import CandidateFailed, ConnectError
from edgeopt.core.measurement import Measurement, Protocol
from edgeopt.core.progress import Observer
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
    power, idle = calibrate._power(drawn("meter"))
    assert power == Quantity(5.0, "W", 4.6, 5.4, "measured", "meter")
    assert idle
    assert idle.value == pytest.approx(2.0)
    assert calibrate._power(drawn("model")) == (None, None)
    assert calibrate._power(drawn("rapl")) == (None, None), "of the processor, not of the board"


def drawn(source: str) -> Measurement:
    """5 W ± 8 %, of which 3 W are the model's, while its time is known to 1 %."""
    energy = Quantity(50.0, "mJ", 46.0, 54.0, "measured", source)
    power = Quantity(5.0, "W", 4.6, 5.4, "measured", source)
    return took(10.0, 0.1, power_w=power, energy_mj=energy, net_energy_mj=replace(energy, value=30.0))


class Metered:
    """A board with a meter, which answers with made-up figures and remembers how it was asked."""

    energy_source: str | None = "pmic"
    name = "kitchen"
    facts = BoardFacts(machine="aarch64", cores=4, runtimes={"onnxruntime": "1.27.0"})

    def __init__(self, answer: Measurement) -> None:
        self.answer, self.asked = answer, []  # type: ignore[var-annotated]

    def measure(self, artifacts: Any, feeds: Any, protocol: Protocol) -> list[Measurement]:
        self.asked.append((artifacts[0].candidate_key, artifacts[0].session_options["threads"], protocol))
        return [self.answer] * len(artifacts)


def test_a_meter_has_a_window_that_is_long_enough_for_it_and_its_own_error(tmp_path: Path) -> None:
    board: Any = Metered(drawn("pmic"))
    found, missing, _ = calibrate.measured(board, profiles.load("rpi5"), tmp_path, Observer())
    windows = {(name, threads): p.processes * p.window_s for name, threads, p in board.asked}
    assert windows["gemm_fp32", 4] >= 10.0 - 1e-9
    assert sorted(windows.values())[-2] < 10.0, "and only there"
    fact = calibrate.as_facts(found, board)["power"]["stress_w"]
    assert (fact.value, fact.confidence, fact.is_measured) == (5.0, "high", True)
    assert "by its pmic, during MatMul on all fast cores, ±8.0%" in fact.source
    assert not any(one["fact"] == "power" for one in missing)


def test_a_meter_that_tells_nothing_is_named_with_its_reason(tmp_path: Path) -> None:
    board: Any = Metered(took(10.0, 0.1, energy_note="the meter fell silent"))
    found, missing, _ = calibrate.measured(board, profiles.load("rpi5"), tmp_path, Observer())
    assert {"fact": "power", "reason": "the meter fell silent"} in missing
    assert "power" not in calibrate.as_facts(found, board)
    board.energy_source = None
    assert not any(
        one["fact"] == "power"
        for one in calibrate.measured(board, profiles.load("rpi5"), tmp_path, Observer())[1]
    )


class Slow(Metered):
    """A board that answers the first question at once and then no more until it is closed."""

    def __init__(self) -> None:
        super().__init__(took(10.0, 0.1))
        self.closed, self.energy_source = Event(), None

    def measure(self, artifacts: Any, feeds: Any, protocol: Protocol) -> list[Measurement]:
        if self.asked:
            assert self.closed.wait(60), "nobody closes it"
            raise ConnectError("it is closed")
        return super().measure(artifacts, feeds, protocol)

    def close(self) -> None:
        self.closed.set()


def test_five_minutes_are_all_that_a_slow_board_is_given(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert calibrate.MOST_S == 300
    monkeypatch.setattr(calibrate, "MOST_S", 0.5)
    board: Any = Slow()
    found, missing, is_over = calibrate.measured(board, profiles.load("rpi5"), tmp_path, Observer())
    assert is_over
    assert list(found) == ["gemm_fp32_1"]
    assert {one["reason"] for one in missing} == {"the 5 minutes were over"}
    assert len(missing) == 7
    assert len(board.asked) == 1


def test_a_board_that_is_gone_is_not_a_slow_one(tmp_path: Path) -> None:
    board: Any = Slow()
    board.asked.append("before")
    board.close()  # by nobody's clock
    with pytest.raises(ConnectError, match="it is closed"):
        calibrate.measured(board, profiles.load("rpi5"), tmp_path, Observer())
