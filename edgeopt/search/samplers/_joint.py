# ruff: noqa: ARG002  (the signatures are the frameworks')
"""Adapts a function that proposes all decisions at once to Optuna's sampler interface."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import asdict
from typing import Any

from optuna.distributions import BaseDistribution
from optuna.samplers import BaseSampler
from optuna.study import Study
from optuna.trial import FrozenTrial, TrialState

from edgeopt.core.quantity import Quantity
from edgeopt.core.trial import PREDICTED

Propose = Callable[[int, list[dict[str, Any]]], dict[str, str]]
Predicted = Callable[[], Mapping[str, Quantity]]


class JointSampler(BaseSampler):
    """Asks `propose(number, running)` once per trial, when Optuna suggests its first parameter.

    Suggesting is the only moment at which Optuna says that it wants a proposal: trials whose parameters are
    fixed (references) never get here, so no training is spent on them.
    """

    def __init__(self, propose: Propose, predicted: Predicted | None = None) -> None:
        """`predicted` tells what is expected of the last proposal; it is kept with the trial."""
        self._propose, self._predicted = propose, predicted
        self._number, self._decisions = -1, dict[str, str]()

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
        """The option proposed at the site `param_name`."""
        if trial.number != self._number:
            others = study.get_trials(deepcopy=False, states=(TrialState.RUNNING,))
            running = [t.params for t in others if t.number != trial.number and t.params]
            self._decisions, self._number = self._propose(trial.number, running), trial.number
            if self._predicted and (expected := self._predicted()):
                plain = {figure: asdict(quantity) for figure, quantity in expected.items()}
                study._storage.set_trial_user_attr(trial._trial_id, PREDICTED, plain)
        return self._decisions[param_name]
