"""Which candidates to record, so that whatever a sampler asks for has something like it in the table.

Sources take turns: mixes of two precisions at every density, in single regions and in runs; small changes of
the best so far; and every sampler's own proposals, each in a study of its own that knows the references and
what this sampler proposed, as it would be in a replay. After `CHAIN` proposals a sampler begins anew with the
next seed.

All of it follows from the seed and from what was recorded: a recording that is broken off goes on by going
through the same proposals again, and measures those that are new.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from edgeopt.core import plugins
from edgeopt.core.candidate import Candidate
from edgeopt.core.errors import ConfigError
from edgeopt.core.trial import Trial
from edgeopt.search.context import SearchContext
from edgeopt.search.layout import FAMILIES, Codes, Layout
from edgeopt.search.neighbours import mutate, uniform
from edgeopt.study.memory import MemoryStudy

CHAIN = 20
APART = 1000
PARENTS = 8
SAMPLERS = ("random", "tpe", "nsgaii", "local", "greedy", "exact", "evolution", "nas", "ppo")
"""Whose proposals are recorded, where they take the space."""

Evaluate = Callable[[Candidate, str], Trial]
"""Candidate and source -> what the board or the record says of it."""


def cover(context: SearchContext, evaluate: Evaluate, samplers: Sequence[str] = SAMPLERS) -> Iterator[Trial]:
    """Evaluate candidate after candidate, without end; a candidate may come again.

    Args:
        context: Its history must hold the baseline and the references.
    """
    given = [trial for trial in context.history() if trial.kind != "candidate"]
    layout = Layout(context.space)
    rng = np.random.default_rng([context.seed, 1])
    seen = list(given)

    def made(source: str, propose: Callable[[], Codes]) -> Iterator[Trial]:
        while True:
            yield evaluate(layout.decode(propose()), source)

    turns: list[Iterator[Trial]] = [
        (evaluate(layout.decode(row), "uniform") for row in uniform(layout)),
        made("mix", lambda: mix(layout, rng)),
        made("change", lambda: mutate(layout, _best(layout, context, seen), 1, rng)[0]),
    ]
    # Seeds of their own: Optuna's samplers begin with the same random draws.
    turns += [
        _chains(replace(context, seed=context.seed + APART * n), name, given, evaluate)
        for n, name in enumerate(samplers)
        if _takes(context, name)
    ]
    while True:
        for turn in turns:
            if (trial := next(turn, None)) is not None:
                seen.append(trial)
                yield trial


def mix(layout: Layout, rng: np.random.Generator) -> Codes:
    """`(P,)` one precision besides the default, at a random density, in single regions or in runs.

    Other decisions: rewrites all or none; structure, ways to quantize and runtime at random one time in four.
    """
    row = layout.default.copy()
    if len(layout.words) > 1:
        word = rng.integers(1, len(layout.words))
        density, stay, taken = rng.random(), rng.choice([0.0, 0.6, 0.9]), False
        for p in np.flatnonzero(layout.family == FAMILIES.index("precision")):
            if rng.random() >= stay:
                taken = bool(rng.random() < density)
            options = np.flatnonzero(layout.word[p, : layout.options[p]] == word)
            if taken and len(options):
                row[p] = options[0]
    rewrites = np.flatnonzero(layout.family == FAMILIES.index("rewrite"))
    row[rewrites] = (layout.default[rewrites] + rng.integers(2)) % layout.options[rewrites]
    for family in ("structure", "runtime", "quantization"):
        for p in np.flatnonzero(layout.family == FAMILIES.index(family)):
            if rng.random() < 0.25:
                row[p] = rng.integers(layout.options[p])
    return row


def _best(layout: Layout, context: SearchContext, seen: Sequence[Trial]) -> Codes:
    """`(<= PARENTS, P)` the best feasible candidates so far."""
    figures = {n: f for n, t in enumerate(seen) if (f := context.objective.of_trial(t)) is not None}
    best = sorted(figures, key=lambda n: (figures[n], n))[:PARENTS]
    return layout.encode([seen[n].candidate for n in best] or [context.space.default()])


def _chains(context: SearchContext, name: str, given: Sequence[Trial], evaluate: Evaluate) -> Iterator[Trial]:
    seed = context.seed
    while True:
        study = started(context, name, seed, given)
        for _ in range(CHAIN):
            number, candidate = study.ask()
            trial = evaluate(candidate, name)
            study.tell(replace(trial, number=number))
            yield trial
        seed += 1


def started(
    context: SearchContext,
    name: str,
    seed: int,
    given: Sequence[Trial],
    instead: Callable[[Candidate], Candidate] | None = None,
) -> MemoryStudy:
    """A study of one sampler that knows the references and nothing else.

    Args:
        instead: Puts another candidate in the place of a proposal, before anybody learns of it.
    """
    from edgeopt.search.samplers._joint import Substituted

    create = plugins.load("samplers", name).create

    def sampler(history: Callable[[], Sequence[Trial]]) -> Any:
        made = create(replace(context, seed=seed, folder=None, history=history))
        return made if instead is None else Substituted(made, context.space, instead)

    study = MemoryStudy(context.space, context.objective, sampler)
    for trial in given:
        study.add(replace(trial, number=len(study.trials)))
    return study


def _takes(context: SearchContext, name: str) -> bool:
    try:
        plugins.load("samplers", name).create(replace(context, folder=None))
    except ConfigError:
        return False
    return True
