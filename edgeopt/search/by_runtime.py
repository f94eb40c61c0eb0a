"""The runtime is the first decision: whose turn it is, and a sampler for each that decides the rest.

A sampler that models costs sees the trials and the options of one runtime only: int8 on one says nothing of
int8 on the other. Where one runtime is out of reach the other's sampler gets every trial, and does what it
would do alone.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING

from edgeopt.core.candidate import RUNTIME
from edgeopt.core.objective import Objective
from edgeopt.core.trial import Trial
from edgeopt.search.context import SearchContext
from edgeopt.search.samplers._joint import AllAtOnce, Substituted, running

if TYPE_CHECKING:
    from optuna.samplers import BaseSampler
    from optuna.study import Study
    from optuna.trial import FrozenTrial

REACH = 1.5
"""A runtime whose best is slower than the best of all by more than this factor gets no turn: between runtimes
lies 1.5 to 2.4, which is more than what is decided below them makes up for."""
LEADERS_SHARE = 2
"""Turns of the runtime that is ahead for one of another within reach."""


def create(context: SearchContext, make: Callable[[SearchContext], BaseSampler]) -> BaseSampler:
    """A sampler for a space that may decide on its runtime.

    Args:
        make: A plugin's `create`. Samplers that decide everything at once are made for each runtime;
            Optuna's, which read the study themselves, are asked for everything, and what the chosen runtime
            does not offer is put to its default.

    Raises:
        ConfigError: The sampler cannot handle this space.
    """
    runtimes = context.space.runtimes
    if len(runtimes) < 2:
        return make(context)
    whole = make(context)
    if not isinstance(whole, AllAtOnce):
        return Substituted(whole, context.space, lambda candidate: candidate)
    return ByRuntime(context, {runtime: make(context.under(runtime)) for runtime in runtimes})


class ByRuntime(AllAtOnce):
    """Asks the sampler of the runtime whose turn it is."""

    def __init__(self, context: SearchContext, samplers: Mapping[str, BaseSampler]) -> None:
        super().__init__()
        self._context, self._samplers = context, samplers

    def decide(self, study: Study, trial: FrozenTrial) -> Mapping[str, str]:
        """Decisions of the candidate, the runtime among them."""
        under_way = [str(decisions[RUNTIME]) for decisions in running(study, trial)]
        chosen = turn(self._context, under_way)
        sampler = self._samplers[chosen]
        assert isinstance(sampler, AllAtOnce)  # noqa: S101 - `create` saw to it
        return sampler.decide(study, trial)


def turn(context: SearchContext, under_way: Sequence[str] = ()) -> str:
    """The runtime of the next candidate.

    One on which nothing has run (no model converts, the runtime fails) gets no turn, unless all are so.

    Args:
        under_way: Runtimes of candidates that were proposed and are not measured yet.
    """
    history = context.history()
    best = {runtime: _best(history, runtime, context.objective) for runtime in context.space.runtimes}
    known = {runtime: figure for runtime, figure in best.items() if figure is not None}
    if not known:
        return context.space.runtimes[0]
    leader = min(known, key=lambda runtime: known[runtime])
    turns = Counter(trial.candidate.runtime for trial in history if trial.kind == "candidate")
    turns.update(under_way)
    within = [runtime for runtime, figure in known.items() if figure <= REACH * known[leader]]
    return min(
        within,
        key=lambda runtime: (
            turns[runtime] / (LEADERS_SHARE if runtime == leader else 1), runtime != leader
        ),
    )  # fmt: skip


def _best(history: Sequence[Trial], runtime: str, objective: Objective) -> float | None:
    figures = (objective.of_trial(trial) for trial in history if trial.candidate.runtime == runtime)
    return min((figure for figure in figures if figure is not None), default=None)
