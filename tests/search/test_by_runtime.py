"""The runtime is the first decision: whose turn it is, and who decides the rest."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import optuna
import pytest
from optuna.distributions import CategoricalDistribution

from edgeopt.core import plugins
from edgeopt.core.artifact import Artifact
from edgeopt.core.candidate import RUNTIME, Candidate
from edgeopt.core.errors import ConfigError
from edgeopt.core.measurement import Measurement
from edgeopt.core.objective import Objective
from edgeopt.core.quantity import Quantity
from edgeopt.core.space import DecisionPoint, SearchSpace
from edgeopt.core.trial import Kind, Trial
from edgeopt.search import by_runtime
from edgeopt.search.context import SearchContext
from edgeopt.search.samplers._examples import LONG

ORT, LITE = "onnxruntime", "litert"


def conditional(space: SearchSpace) -> SearchSpace:
    """A space of one runtime as that of two: what is int8 becomes int16x8 on the other."""
    points = [DecisionPoint(RUNTIME, (ORT, LITE), ORT)]
    for point in space.points:
        options = point.options
        if point.family == "precision":
            only = ((ORT, options), (LITE, (point.default, "int16x8")))
            points.append(DecisionPoint(point.site, (*options, "int16x8"), point.default, only))
        else:
            points.append(point)
    return replace(space, points=tuple(points))


SPACE = conditional(LONG)


def trial(number: int, candidate: Candidate, p50_ms: float | None, kind: Kind = "reference") -> Trial:
    if p50_ms is None:
        return Trial(number, candidate, "FAILED", kind, reason="it does not convert")
    measured = Measurement(Quantity(p50_ms, "ms", p50_ms, p50_ms, "measured", "clock"))
    artifact = Artifact(candidate.key, Path("/m"), candidate.key, 1000)
    return Trial(number, candidate, "COMPLETE", kind, artifact=artifact, measurement=measured)


def context(history: list[Trial], space: SearchSpace = SPACE) -> SearchContext:
    return SearchContext(space, Objective(), 0, None, lambda: history)


def on(runtime: str) -> Candidate:
    return SPACE.candidate({RUNTIME: runtime})


@pytest.mark.parametrize(
    ("ort_ms", "litert_ms", "turns"),
    [
        (2.0, 1.0, [LITE] * 6),
        (1.0, 2.0, [ORT] * 6),
        (1.0, 1.2, [ORT, LITE, ORT, ORT, LITE, ORT]),
        (1.0, None, [ORT] * 6),
        (None, 1.0, [LITE] * 6),
    ],
    ids=["litert far ahead", "onnxruntime far ahead", "close", "nothing converts", "no onnxruntime"],
)
def test_who_is_ahead_gets_the_turns_and_who_is_close_a_third(
    ort_ms: float | None, litert_ms: float | None, turns: list[str]
) -> None:
    history = [trial(0, on(ORT), ort_ms, "baseline"), trial(1, on(LITE), litert_ms)]
    seen = []
    for number in range(2, 8):
        seen.append(by_runtime.turn(context(history)))
        history.append(trial(number, on(seen[-1]), 5.0, "candidate"))
    assert seen == turns


def test_what_is_under_way_counts_as_a_turn() -> None:
    history = [trial(0, on(ORT), 1.0, "baseline"), trial(1, on(LITE), 1.1)]
    assert by_runtime.turn(context(history)) == ORT
    assert by_runtime.turn(context(history), [ORT, ORT, ORT]) == LITE


def proposals(sampler: str, given: SearchContext, history: list[Trial], count: int) -> list[Candidate]:
    """What a study is told to try, each measured at 5 ms."""
    study = optuna.create_study(sampler=by_runtime.create(given, plugins.load("samplers", sampler).create))
    distributions: Any = {p.site: CategoricalDistribution(p.options) for p in given.space.points}
    for known in history:
        study.add_trial(
            optuna.create_trial(
                params={site: dict(known.candidate.decisions)[site] for site in distributions},
                distributions=distributions,
                value=1.0,
            )
        )
    found = []
    for _ in range(count):
        asked = study.ask(distributions)
        candidate = given.space.candidate(asked.params)  # refuses what the runtime does not offer
        found.append(candidate)
        history.append(trial(asked.number, candidate, 5.0, "candidate"))
        study.tell(asked, 5.0)
    return found


@pytest.mark.parametrize("sampler", ["tpe", "random", "local", "greedy"])
def test_every_proposal_is_of_one_runtime(sampler: str) -> None:
    history = [trial(0, on(ORT), 1.0, "baseline"), trial(1, on(LITE), 1.1)]
    found = proposals(sampler, context(history), history, 9)
    assert {candidate.runtime for candidate in found} == {ORT, LITE}


@pytest.mark.parametrize("sampler", ["local", "greedy"])
def test_a_runtime_that_is_far_ahead_is_searched_as_if_it_were_alone(sampler: str) -> None:
    both = [trial(0, on(ORT), 4.0, "baseline"), trial(1, on(LITE), 1.0)]
    alone = [trial(0, on(LITE), 1.0, "baseline"), trial(1, on(LITE), 1.0)]
    with_both = proposals(sampler, context(both), both, 5)
    with_one = proposals(sampler, context(alone, SPACE.under(LITE)), alone, 5)
    assert with_both == with_one


def test_times_of_regions_on_one_runtime_say_no_ratio_on_the_other() -> None:
    given = replace(context([]), region_ms=lambda: {"float32": {"a": 2.0}, "int8": {"a": 1.0}})
    assert given.under(ORT).region_ms() == {"float32": {"a": 2.0}, "int8": {"a": 1.0}}
    assert given.under(LITE).region_ms() == {"float32": {"a": 2.0}}


def test_a_sampler_that_cannot_leave_out_options_is_refused() -> None:
    with pytest.raises(ConfigError, match="what a runtime does not have"):
        by_runtime.create(context([]), plugins.load("samplers", "bruteforce").create)
