"""Who enters the final stage."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from edgeopt.core.artifact import Artifact
from edgeopt.core.candidate import Candidate
from edgeopt.core.measurement import Measurement
from edgeopt.core.objective import Objective
from edgeopt.core.quantity import Quantity
from edgeopt.core.trial import Kind, Trial
from edgeopt.optimize import chances
from edgeopt.optimize.final import select


def trial(number: int, kind: Kind, p50_ms: float, drift: float = 1.0) -> Trial:
    name = f"t{number}"
    measurement = Measurement(Quantity(p50_ms, "ms", p50_ms, p50_ms, "measured", "clock"), drift=drift)
    artifact = Artifact(name, Path(f"/{name}.onnx"), name, 1000)
    return Trial(number, Candidate.of("m", {"x": name}), "COMPLETE", kind, name, artifact, measurement)


def job(*trials: Trial, pairwise_error: float = 0.0) -> Any:
    return SimpleNamespace(
        store=SimpleNamespace(trials=list(trials)),
        options=SimpleNamespace(objective=Objective()),
        screening_slack=1.05,
        gate=None,
        board=SimpleNamespace(pairwise_error=pairwise_error),
        space=SimpleNamespace(default=lambda: Candidate.of("m", {"x": "t0"})),
    )


def test_a_noisy_control_does_not_hide_the_recipe_that_was_clocked_fastest() -> None:
    """Seen: the control stumbled beside `threads-1`, whose corrected figure then seemed twice as good."""
    _, references, finalists = select(
        job(
            trial(0, "baseline", 0.68),
            trial(1, "reference", 0.35),
            trial(2, "reference", 0.54, drift=2.0),
            trial(3, "candidate", 0.34),
            trial(4, "candidate", 0.90),
        )
    )
    assert [t.number for t in references] == [1, 2]
    assert [t.number for t in finalists] == [3]


def test_at_most_three_of_each_and_none_that_is_clearly_slower() -> None:
    many = [trial(n, "reference", 0.5 + n / 1000) for n in range(1, 7)]
    more = [trial(n, "candidate", 0.4 + n / 1000) for n in range(10, 17)]
    _, references, finalists = select(
        job(trial(0, "baseline", 1.0), *many, *more, trial(20, "candidate", 0.9))
    )
    assert len(references) == len(finalists) == 3
    assert all(t.number < 20 for t in finalists)


def test_of_those_that_a_model_cannot_tell_apart_who_changes_least_takes_part() -> None:
    many = [trial(n, "candidate", 0.50 + n / 1000) for n in range(1, 7)]
    busy = {"x": "b", "y": "b", "z": "b"}
    fast = [replace(one, candidate=Candidate.of("m", busy)) for one in many[:-1]]
    _, _, finalists = select(job(trial(0, "baseline", 1.0), *fast, many[-1], pairwise_error=0.1))
    assert finalists[0].number == 6


def test_one_that_is_likely_to_hold_its_accuracy_takes_part(monkeypatch: pytest.MonkeyPatch) -> None:
    """Seen: three lucky finalists of an OCR model lost their accuracy on fresh samples; a recipe was kept."""
    fast = [trial(n, "candidate", 0.4 + n / 1000) for n in range(1, 5)]
    study = job(trial(0, "baseline", 1.0), *fast, trial(5, "candidate", 0.8), trial(6, "candidate", 0.99))
    study.gate = object()

    def believed(likely: dict[int, float]) -> list[int]:
        monkeypatch.setattr(chances, "chances", lambda _, trials: [likely.get(t.number, 0.1) for t in trials])
        return [t.number for t in select(study)[2]]

    assert believed({5: 0.9}) == [1, 2, 5]
    assert believed({6: 0.9}) == [1, 2, 3]  # it would hardly be worth it
    assert believed(dict.fromkeys(range(7), 1.0)) == [1, 2, 3]
