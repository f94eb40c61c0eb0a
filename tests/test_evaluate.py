"""How far a screening is corrected by the control measured beside it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import pytest

from edgeopt.core.artifact import Artifact
from edgeopt.core.candidate import Candidate
from edgeopt.core.errors import CandidateFailed, MeasurementInvalid
from edgeopt.core.measurement import Measurement, Protocol
from edgeopt.core.objective import Objective
from edgeopt.core.quantity import Quantity
from edgeopt.core.trial import Trial
from edgeopt.evaluate import Evaluator, Prepared

CONTROL, OTHER = (Artifact(name, Path(f"/{name}.onnx"), name, 1000) for name in ("control", "other"))
START_MS, OTHER_MS, CRASH = 10.0, 5.0, -1.0


class Scripted:
    """A board on which control and candidate take what the script says, one line a screening."""

    name, device, provenance = "scripted", "local", "measured"
    facts = SimpleNamespace(runtimes={}, epoch="")

    def __init__(self, script: Sequence[tuple[float, float]]) -> None:
        self._script = iter(script)

    def measure(
        self, artifacts: Sequence[Artifact], feeds: Any, protocol: Any
    ) -> list[Measurement | CandidateFailed]:
        control_ms, other_ms = next(self._script)
        results = [figure(control_ms, 1.0), figure(other_ms, other_ms / control_ms)]
        return [
            CandidateFailed("crashed on the board") if one.p50_ms == CRASH else one
            for one in results[: len(artifacts)]
        ]


def figure(ms: float, ratio: float) -> Measurement:
    return Measurement(Quantity(ms, "ms", ms, ms, "measured", "clock"), control_ratio=ratio)


def drifts(*script: tuple[float, float], objective: Objective = Objective()) -> list[float | None]:  # noqa: B008
    anything: Any = None
    evaluator = Evaluator(
        anything, cast(Any, Scripted(script)), objective, {}, anything, None, 3.0, 1, 0.0, anything,
        control=CONTROL, control_p50_ms=START_MS,
    )  # fmt: skip
    return [evaluator.measure(OTHER, cast(Protocol, None)).drift for _ in script]


def test_one_slow_reading_of_the_control_corrects_nothing() -> None:
    quiet = (START_MS, OTHER_MS)
    assert drifts(quiet, quiet, (18.0, OTHER_MS), quiet, quiet) == pytest.approx([1.0] * 5)


def test_a_board_that_stays_slow_is_corrected_from_the_second_reading() -> None:
    quiet, slow = (START_MS, OTHER_MS), (1.5 * START_MS, 1.5 * OTHER_MS)
    assert drifts(quiet, quiet, slow, slow, slow) == pytest.approx([1.0, 1.0, 1.0, 1.5, 1.5])


def test_a_missing_energy_matters_only_where_it_is_asked_for() -> None:
    assert drifts((START_MS, 5.0)) == [1.0]
    with pytest.raises(MeasurementInvalid, match="nothing tells its energy"):
        drifts((START_MS, 5.0), objective=Objective("energy"))


def test_who_is_hopelessly_slow_has_no_energy_and_ends_no_study(monkeypatch: pytest.MonkeyPatch) -> None:
    """Its window was too short for the meter. It is no fault of the board's, and its trial says why."""
    board = Scripted(((START_MS, 5.0), (START_MS, 5.0)))
    hopeless = replace(
        figure(5 * START_MS, 5.0),
        stopped_early=True,
        energy_note="a window of 1 s is too short for an energy",
    )
    monkeypatch.setattr(board, "measure", lambda *_: [figure(START_MS, 1.0), hopeless])
    anything: Any = None
    evaluator = Evaluator(
        anything, cast(Any, board), Objective("energy"), {}, anything, None, 3.0, 1, 0.0, anything,
        control=CONTROL, control_p50_ms=START_MS,
    )  # fmt: skip
    trial = evaluator.trial(1, Prepared(Candidate.of("m", {}), OTHER), cast(Protocol, None))
    assert trial.state == "INFEASIBLE"
    assert "hopelessly slow, before its energy could be told" in str(trial.reason)


def test_who_needs_much_more_memory_than_the_original_cannot_win() -> None:
    board = Scripted(((START_MS, OTHER_MS), (START_MS, OTHER_MS)))
    small, large = (replace(figure(START_MS, 1.0), peak_rss_bytes=bytes_) for bytes_ in (1e8, 1.2e8))
    board.measure = lambda *_: [small, large]  # type: ignore[method-assign]
    anything: Any = None
    evaluator = Evaluator(
        anything, cast(Any, board), Objective(), {}, anything, None, 3.0, 1, 0.0, anything,
        control=CONTROL, control_p50_ms=START_MS,
        original=Trial(0, Candidate.of("m", {}), "COMPLETE", "baseline", "original", CONTROL, small),
    )  # fmt: skip
    prepared = Prepared(Candidate.of("m", {}), OTHER)
    trial = evaluator.trial(1, prepared, cast(Protocol, None))
    assert trial.state == "INFEASIBLE"
    assert trial.reason == "memory is 20% worse than the original's (--allow-worse memory)"
    evaluator.objective = Objective(allow_worse=("memory",))
    assert evaluator.trial(1, prepared, cast(Protocol, None)).state == "COMPLETE"


def test_a_control_that_fails_is_no_candidates_fault() -> None:
    with pytest.raises(MeasurementInvalid, match="the control model failed: crashed"):
        drifts((CRASH, OTHER_MS))
    with pytest.raises(CandidateFailed):
        drifts((START_MS, CRASH))
    with pytest.raises(CandidateFailed):  # it may have taken the control with it
        drifts((CRASH, CRASH))
