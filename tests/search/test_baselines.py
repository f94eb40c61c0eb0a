"""Plain samplers do what their papers say, on a board that dislikes mixes."""

from __future__ import annotations

from dataclasses import replace
from itertools import pairwise

import numpy as np
import pytest
from mixed_truth import INT8, MixedTruth, trial_of

from edgeopt.core import plugins
from edgeopt.core.candidate import Candidate
from edgeopt.core.trial import Trial
from edgeopt.search.layout import Layout
from edgeopt.search.samplers import evolution, local
from edgeopt.search.samplers._examples import STRUCTURED
from edgeopt.search.standing import Standing
from edgeopt.study.memory import MemoryStudy


def search(name: str, truth: MixedTruth, count: int, sensitive: int = 0, seed: int = 0) -> list[Trial]:
    """The references and `count` trials; int8 in any of the first `sensitive` loses half of 0.01."""
    names = [region.name for region in truth.regions[:sensitive]]

    def told(number: int, candidate: Candidate) -> Trial:
        drop = 0.005 * sum(candidate.chosen(f"precision@{name}") == INT8 for name in names)
        trial = trial_of(number, candidate, truth.latency_ms(candidate), drop)
        if trial.measurement is None and number < 2:  # references are measured whatever they lose
            trial = replace(trial_of(number, candidate, truth.latency_ms(candidate)), state="INFEASIBLE",
                            accuracy=trial.accuracy)  # fmt: skip
        return trial

    def make(history):
        context = truth.context([], seed=seed, original_score=lambda: 0.9)
        return plugins.load("samplers", name).create(replace(context, history=history))

    study = MemoryStudy(truth.space, truth.context([]).objective, make)
    study.add(replace(told(0, truth.space.default()), kind="baseline"))
    study.add(replace(told(1, truth.uniform(INT8)), kind="reference"))
    for _ in range(count):
        study.tell(told(*study.ask()))
    return study.trials


def best_ms(trials: list[Trial]) -> float:
    return min(t.measurement.p50_ms for t in trials if t.state == "COMPLETE" and t.measurement)


def test_greedy_finds_by_bisection_how_many_regions_may_be_int8():
    trials = search("greedy", MixedTruth(blocks=5), 4, sensitive=6)
    chosen = {
        frozenset(
            site for site, option in t.candidate.of_family("precision").items() if option == INT8
        ): t.state
        for t in trials
    }
    path = sorted(chosen, key=len)
    assert [len(path[0]), len(path[-1])] == [0, 15]
    assert all(fewer < more for fewer, more in pairwise(path))
    feasible = max(n for n, sites in enumerate(path) if chosen[sites] == "COMPLETE")
    assert {chosen[sites] for sites in path[: feasible + 1]} == {"COMPLETE"}
    assert len(path[feasible + 1]) == len(path[feasible]) + 1


def test_greedy_then_changes_one_decision_of_the_best_at_a_time():
    trials = search("greedy", MixedTruth(blocks=3), 9)
    for number in range(2, len(trials)):
        best = min(trials[:number], key=lambda t: t.measurement.p50_ms)
        assert len(trials[number].candidate.changes(best.candidate)) == 1
    assert len({t.candidate for t in trials}) == len(trials)


@pytest.mark.parametrize("name", ["greedy", "exact"])
def test_no_seed_changes_what_is_solved_for(name):
    truth = MixedTruth(blocks=3)
    first, other = (search(name, truth, 4, sensitive=3, seed=seed) for seed in (0, 1))
    assert [t.candidate for t in first] == [t.candidate for t in other]


def test_exact_finds_the_best_of_a_sum_with_boundaries():
    truth = MixedTruth(blocks=2)
    layout = Layout(truth.space)
    from edgeopt.search.neighbours import everything

    every = [truth.latency_ms(layout.decode(row)) for row in everything(layout)]
    assert best_ms(search("exact", truth, 12)) <= 1.02 * min(every)


def test_exact_proposes_what_is_predicted_to_keep_the_accuracy():
    trials = search("exact", MixedTruth(blocks=5), 14, sensitive=6)
    states = [t.state for t in trials[2:]]
    assert states[-6:].count("COMPLETE") >= 5
    assert len({t.candidate for t in trials}) == len(trials)


def standing_of(truth: MixedTruth, figures: list[float], given: int = 1) -> Standing:
    rng = np.random.default_rng(0)
    trials = [trial_of(n, truth.mix(rng), ms) for n, ms in enumerate(figures)]
    trials = [replace(t, kind="reference") if n < given else t for n, t in enumerate(trials)]
    return Standing(Layout(truth.space), truth.context(trials), [])


def test_local_stands_on_the_best_until_it_was_changed_in_vain_for_long():
    truth = MixedTruth(blocks=3)
    climbing = standing_of(truth, [5.0, 6.0, 4.0, 7.0])
    assert np.array_equal(local.incumbent(climbing), climbing.codes[2])
    stuck = standing_of(truth, [5.0] + [6.0] * local.PATIENCE)
    assert local.incumbent(stuck) is None
    begun_again = standing_of(truth, [5.0] + [6.0] * local.PATIENCE + [9.0, 10.0])
    assert np.array_equal(local.incumbent(begun_again), begun_again.codes[local.PATIENCE + 1])


def test_local_gets_better_than_the_references():
    assert best_ms(search("local", MixedTruth(blocks=5), 30, sensitive=6)) < 0.9 * 8.0


def test_in_evolution_the_oldest_die_whatever_they_were_worth():
    truth, rng = MixedTruth(blocks=3), np.random.default_rng(0)
    old_best = standing_of(truth, [1.0] + [6.0] * evolution.POPULATION)
    parents = [evolution.winner(old_best, rng) for _ in range(50)]
    assert not any(np.array_equal(parent, old_best.codes[0]) for parent in parents)
    alive = standing_of(truth, [6.0] * 4 + [1.0])
    often = [np.array_equal(evolution.winner(alive, rng), alive.codes[4]) for _ in range(50)]
    assert sum(often) > 30


def test_a_child_differs_in_one_decision_or_in_one_of_all_repeated_blocks():
    layout, rng = Layout(MixedTruth(blocks=9).space), np.random.default_rng(0)
    free = np.arange(layout.count)
    changed = []
    for _ in range(40):
        row = evolution.child(layout, layout.default, free, layout.default[None], rng)
        changed.append(np.flatnonzero(row != layout.default))
        assert len({int(layout.group[p]) for p in changed[-1]}) == 1
    assert {len(points) for points in changed} >= {1, 3}


def test_nas_leaves_all_but_the_structure_as_in_the_best_reference():
    truth = MixedTruth(blocks=2)
    space = STRUCTURED
    best = space.candidate({"precision@/conv1": "int8", "rewrite:fold@/conv0": "on"})
    history = [
        replace(trial_of(0, space.default(), 8.0), kind="baseline"),
        replace(trial_of(1, best, 6.0), kind="reference"),
    ]
    context = replace(truth.context([]), space=space, history=lambda: history)
    study = MemoryStudy(
        space,
        context.objective,
        lambda h: plugins.load("samplers", "nas").create(replace(context, history=h)),
    )
    for trial in history:
        study.add(trial)
    for n in range(10):
        number, candidate = study.ask()
        assert {site.partition(":")[0] for site in candidate.changes(best)} == {"structure"}
        study.tell(trial_of(number, candidate, 5.0 + 0.1 * n))
    assert len({t.candidate for t in study.trials}) == 12
