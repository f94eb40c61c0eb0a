"""Structures are evolved on the surrogate and dressed by the policy; without structures it is ppo."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
from mixed_truth import MixedTruth, trial_of

from edgeopt.search.samplers import hybrid, ppo
from edgeopt.search.samplers._examples import LONG, STRUCTURED, chain
from edgeopt.search.surrogate import Surrogate
from edgeopt.search.view import View
from edgeopt.search.walk import Walk

WIDE = chain(8, widths=("100%", "75%", "50%"))


def context_of(space, candidates, ms):
    history = [trial_of(n, c, ms(c), drop=0.0) for n, c in enumerate(candidates)]
    return replace(MixedTruth(1).context([]), space=space, history=lambda: history)


def cost_ms(candidate):
    """Narrow is fast everywhere, and more so in int8."""
    decided = dict(candidate.decisions)
    return sum(
        float(option.rstrip("%"))
        / 100
        * (0.4 if decided["precision@" + site.partition("@")[2]] == "int8" else 1.0)
        for site, option in decided.items()
        if site.startswith("structure")
    )


def some(space, count=10):
    rng = np.random.default_rng(0)
    mixed = [
        space.candidate({p.site: str(rng.choice(p.options)) for p in space.points}) for _ in range(count)
    ]
    return [space.default(), *mixed]


def test_without_a_structure_to_decide_it_proposes_what_ppo_does():
    context = context_of(LONG, some(LONG), lambda c: 5.0 + len(c.of_family("precision")))
    assert hybrid.Hybrid(context).propose(11, []) == ppo.Ppo(context).propose(11, [])


def test_evolution_finds_better_structures_than_were_tried_and_changes_nothing_else():
    context = context_of(WIDE, some(WIDE), cost_ms)
    layout = hybrid.Layout(WIDE)
    surrogate = Surrogate(layout, context)
    free = layout.points_of("structure")
    assert len(free) == 8
    found = hybrid.evolved(layout, surrogate, free, np.random.default_rng(0))
    assert 0 < len(found) <= hybrid.POPULATION
    others = np.setdiff1d(np.arange(layout.count), free)
    assert (found[:, others] == layout.default[others]).all()
    assert len(np.unique(found, axis=0)) == len(found)
    tried = min(cost_ms(t.candidate) for t in context.history())
    dress = surrogate.elite(1)[0]
    best = dress.copy()
    best[free] = found[0, free]
    assert cost_ms(layout.decode(best)) < tried


def test_what_was_decided_ahead_stands_and_is_priced_from_the_first_step():
    context = context_of(WIDE, some(WIDE), cost_ms)
    layout = hybrid.Layout(WIDE)
    surrogate = Surrogate(layout, context)
    given = np.full((4, layout.count), -1)
    free = layout.points_of("structure")
    given[:2, free] = 2
    walk = Walk(surrogate, 4, np.random.default_rng(0), View(surrogate))
    walk.reset(given=given)
    decided_ms = np.exp(walk._log())
    assert (decided_ms[:2] < 0.9 * decided_ms[2:]).all()
    total, done = np.zeros(4), False
    while not done:
        rewards, done = walk.step(np.zeros(4, dtype=int))
        total += rewards
    assert (walk.codes[:2][:, free] == 2).all()
    assert (walk.codes[2:][:, free] == 0).all()
    # What an episode earns is what it added to the structure that it was given.
    start = -np.log(decided_ms)
    assert np.allclose(start + total, -surrogate.predict(walk.codes)[0])


def test_it_measures_ever_faster_structures_and_nothing_twice():
    known = some(STRUCTURED, 3)
    history = [trial_of(n, c, cost_ms(c), drop=0.0) for n, c in enumerate(known)]
    context = replace(MixedTruth(1).context([]), space=STRUCTURED, history=lambda: history)
    sampler = hybrid.Hybrid(context)
    for number in range(len(history), len(history) + 3):
        candidate = STRUCTURED.candidate(sampler.propose(number, []))
        assert candidate not in [t.candidate for t in history]
        history.append(trial_of(number, candidate, cost_ms(candidate), drop=0.0))
    assert min(cost_ms(t.candidate) for t in history[len(known) :]) < min(map(cost_ms, known))
