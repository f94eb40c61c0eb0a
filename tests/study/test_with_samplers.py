"""Samplers in a study on disk: a study stopped in the middle goes on as if it had not been."""

from __future__ import annotations

import pytest
from study_fixtures import IDENTITY, result

from edgeopt.core import plugins
from edgeopt.core.objective import Objective
from edgeopt.search.context import SearchContext
from edgeopt.search.samplers._examples import SMALL
from edgeopt.study.store import StudyStore


def go_on(folder, name, until, leave_running=False):
    """Continue the study in `folder` until it holds so many trials."""

    def make_sampler(history):
        context = SearchContext(SMALL, Objective(), 3, folder, history)
        return plugins.load("samplers", name).create(context)

    with StudyStore.open(folder, space=SMALL, identity=IDENTITY, make_sampler=make_sampler) as store:
        number = store.ask_candidate(SMALL.default(), "baseline", "original")
        if store.get(number) is None:
            store.tell(result(number, SMALL.default(), kind="baseline"))
        while len(store.trials) < until:
            number, candidate = store.ask()
            store.tell(result(number, candidate))
        if leave_running:
            store.ask()
        return [t.candidate for t in store.trials]


@pytest.mark.parametrize(
    ("name", "trials"),
    [
        ("ppo", 4),
        ("tpe", 14),
        ("nsgaii", 24),
        ("nsgaiii", 24),
        ("qmc", 12),
        ("bruteforce", 12),
        ("random", 8),
        ("local", 8),
        ("greedy", 8),
        ("exact", 5),
        ("evolution", 8),
    ],
)
def test_stopped_in_the_middle_of_a_trial_it_proposes_the_same(tmp_path, name, trials):
    straight = go_on(tmp_path / "straight", name, trials)
    go_on(tmp_path / "stopped", name, 2, leave_running=True)
    go_on(tmp_path / "stopped", name, trials - 1)
    assert go_on(tmp_path / "stopped", name, trials) == straight
