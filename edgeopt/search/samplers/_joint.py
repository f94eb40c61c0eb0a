# ruff: noqa: ARG002  (the signatures are the frameworks')
"""Samplers that decide everything at once, behind Optuna's interface, which asks parameter by parameter."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict
from typing import Any

import numpy as np
from optuna.distributions import BaseDistribution, CategoricalDistribution
from optuna.samplers import BaseSampler
from optuna.study import Study
from optuna.trial import FrozenTrial, TrialState

from edgeopt.core.candidate import Candidate
from edgeopt.core.quantity import Quantity
from edgeopt.core.space import SearchSpace
from edgeopt.core.trial import PREDICTED
from edgeopt.search.context import SearchContext
from edgeopt.search.layout import Codes, Layout
from edgeopt.search.standing import Standing

Propose = Callable[[int, list[dict[str, Any]]], dict[str, str]]
Predicted = Callable[[], Mapping[str, Quantity]]


class AllAtOnce(BaseSampler):
    """Decides once per trial, when Optuna suggests its first parameter.

    Suggesting is the only moment at which Optuna says that it wants a proposal: trials whose parameters are
    fixed (references) never get here, so no training is spent on them.
    """

    def __init__(self) -> None:
        self._number, self._decisions = -1, dict[str, str]()

    @abstractmethod
    def decide(self, study: Study, trial: FrozenTrial) -> Mapping[str, str]:
        """The option at every site."""

    def before_trial(self, study: Study, trial: FrozenTrial) -> None:
        self._number = -1  # one sampler may serve several studies

    def infer_relative_search_space(self, study: Study, trial: FrozenTrial) -> dict[str, BaseDistribution]:
        return {}

    def sample_relative(
        self, study: Study, trial: FrozenTrial, search_space: dict[str, BaseDistribution]
    ) -> dict[str, Any]:
        return {}

    def sample_independent(
        self, study: Study, trial: FrozenTrial, param_name: str, param_distribution: BaseDistribution
    ) -> Any:
        """The option decided at the site `param_name`."""
        if trial.number != self._number:
            self._decisions, self._number = dict(self.decide(study, trial)), trial.number
        return self._decisions[param_name]


class JointSampler(AllAtOnce):
    """Asks `propose(number, running)`."""

    def __init__(self, propose: Propose, predicted: Predicted | None = None) -> None:
        """`predicted` tells what is expected of the last proposal; it is kept with the trial."""
        super().__init__()
        self._propose, self._predicted = propose, predicted

    def decide(self, study: Study, trial: FrozenTrial) -> Mapping[str, str]:
        decided = self._propose(trial.number, running(study, trial))
        if self._predicted and (expected := self._predicted()):
            plain = {figure: asdict(quantity) for figure, quantity in expected.items()}
            study._storage.set_trial_user_attr(trial._trial_id, PREDICTED, plain)
        return decided


def running(study: Study, trial: FrozenTrial) -> list[dict[str, Any]]:
    """Decisions of the other candidates that were proposed and are not measured yet."""
    others = study.get_trials(deepcopy=False, states=(TrialState.RUNNING,))
    return [other.params for other in others if other.number != trial.number and other.params]


class Substituted(AllAtOnce):
    """Asks another sampler for all its decisions, and gives those of `instead(candidate)`: the sampler's own
    record of the trial then has the other one's decisions."""

    def __init__(
        self, sampler: BaseSampler, space: SearchSpace, instead: Callable[[Candidate], Candidate]
    ) -> None:
        super().__init__()
        self._sampler, self._space, self._instead = sampler, space, instead
        self._distributions = {p.site: CategoricalDistribution(p.options) for p in space.points}

    def before_trial(self, study: Study, trial: FrozenTrial) -> None:
        super().before_trial(study, trial)
        self._sampler.before_trial(study, trial)

    def decide(self, study: Study, trial: FrozenTrial) -> Mapping[str, str]:
        together = self._sampler.infer_relative_search_space(study, trial)
        proposed = self._sampler.sample_relative(study, trial, together)
        decided = {
            site: proposed[site]
            if site in proposed
            else self._sampler.sample_independent(study, trial, site, distribution)
            for site, distribution in self._distributions.items()
        }
        return dict(self._instead(self._space.settled(decided)).decisions)

    def after_trial(
        self, study: Study, trial: FrozenTrial, state: TrialState, values: Sequence[float] | None
    ) -> None:
        self._sampler.after_trial(study, trial, state, values)


def from_standing(
    context: SearchContext, layout: Layout, choose: Callable[[Standing, np.random.Generator], Codes]
) -> JointSampler:
    """A sampler without a state of its own: `choose` makes a candidate `(P,)` of what was tried so far."""

    def propose(number: int, running: list[dict[str, Any]]) -> dict[str, str]:
        standing = Standing(layout, context, running)
        row = choose(standing, np.random.default_rng([context.seed, number]))
        return dict(layout.decode(row).decisions)

    return JointSampler(propose)
