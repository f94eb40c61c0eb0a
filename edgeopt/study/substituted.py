# ruff: noqa: ARG002  (the signatures are Optuna's)
"""A sampler whose proposals are replaced by others before Optuna records them."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from optuna.distributions import BaseDistribution
from optuna.samplers import BaseSampler
from optuna.study import Study
from optuna.trial import FrozenTrial, TrialState

from edgeopt.core.candidate import Candidate
from edgeopt.core.space import SearchSpace


class Substituted(BaseSampler):
    """Asks `sampler` for all its decisions at once, and gives those of `instead(candidate)`."""

    def __init__(
        self,
        sampler: BaseSampler,
        space: SearchSpace,
        distributions: Mapping[str, BaseDistribution],
        instead: Callable[[Candidate], Candidate],
    ) -> None:
        self._sampler, self._space = sampler, space
        self._distributions, self._instead = distributions, instead
        self._number, self._decisions = -1, dict[str, str]()

    def before_trial(self, study: Study, trial: FrozenTrial) -> None:
        self._sampler.before_trial(study, trial)

    def infer_relative_search_space(self, study: Study, trial: FrozenTrial) -> dict[str, BaseDistribution]:
        return {}

    def sample_relative(
        self, study: Study, trial: FrozenTrial, search_space: dict[str, BaseDistribution]
    ) -> dict[str, Any]:
        return {}

    def sample_independent(
        self, study: Study, trial: FrozenTrial, param_name: str, param_distribution: BaseDistribution
    ) -> Any:
        if trial.number != self._number:
            proposed = self._propose(study, trial)
            self._decisions = dict(self._instead(self._space.candidate(proposed)).decisions)
            self._number = trial.number
        return self._decisions[param_name]

    def _propose(self, study: Study, trial: FrozenTrial) -> dict[str, Any]:
        together = self._sampler.infer_relative_search_space(study, trial)
        proposed = self._sampler.sample_relative(study, trial, together)
        return {
            site: proposed[site]
            if site in proposed
            else self._sampler.sample_independent(study, trial, site, distribution)
            for site, distribution in self._distributions.items()
        }

    def after_trial(
        self, study: Study, trial: FrozenTrial, state: TrialState, values: Sequence[float] | None
    ) -> None:
        self._sampler.after_trial(study, trial, state, values)
