"""What a board does not tell is refused when the original has been measured, not after a search."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from edgeopt.boards import profiles
from edgeopt.core.artifact import Artifact
from edgeopt.core.errors import BoardError
from edgeopt.core.measurement import Measurement
from edgeopt.core.objective import Limits, Objective
from edgeopt.core.quantity import Quantity
from edgeopt.optimize.job import _protocols
from edgeopt.optimize.loop import _check_tellable

ARTIFACT = Artifact("k", Path("/m.onnx"), "s", 1000)
PREDICTED = Measurement(Quantity(2.0, "ms", 1.0, 4.0, "predicted", "roofline"))


def job(**limits: float) -> Any:
    options = SimpleNamespace(objective=Objective(limits=Limits(**limits)))
    return SimpleNamespace(options=options, board=SimpleNamespace(name="predicted", provenance="predicted"))


@pytest.mark.parametrize(
    ("limits", "flag"),
    [
        ({"max_p95_ms": 9.0}, "--max-p95"),
        ({"max_cold_start_ms": 9.0}, "--max-cold-start"),
        ({"max_memory_bytes": 9.0}, "--max-memory"),
        ({"max_power_w": 9.0}, "--max-power"),
        ({"min_utilization": 0.1}, "--min-utilization"),
    ],
)
def test_a_limit_on_what_is_not_told_is_the_board_s_refusal(limits: dict[str, float], flag: str) -> None:
    with pytest.raises(BoardError, match=f"{flag}: predicted cannot tell that"):
        _check_tellable(job(**limits), PREDICTED, ARTIFACT)
    _check_tellable(job(max_latency_ms=9.0), PREDICTED, ARTIFACT)


@pytest.mark.parametrize("effort", ["quick", "normal"])
def test_where_a_p95_decides_every_process_has_enough_runs_for_one(effort: str) -> None:
    board: Any = SimpleNamespace(energy_source=None)
    for objective in (Objective("p95"), Objective(limits=Limits(max_p95_ms=9.0))):
        options: Any = SimpleNamespace(objective=objective, effort=effort)
        stages = _protocols(options, profiles.load("local"), board)
        assert (stages["rank"].min_runs, stages["final"].min_runs) == (130, 130)
    options = SimpleNamespace(objective=Objective(), effort="normal")
    assert _protocols(options, profiles.load("local"), board)["final"].min_runs == 84
