"""Gives Optuna's samplers what resuming needs: randomness that depends on the trial, not on the process."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from optuna.distributions import BaseDistribution
from optuna.samplers import BaseSampler
from optuna.study import Study
from optuna.trial import FrozenTrial, TrialState


class SeededPerTrial(BaseSampler):
    """Makes a new sampler for every trial, seeded from the study's seed and the trial's number.

    Optuna's samplers keep a random generator in memory, so a resumed study would draw the first numbers
    again. What they need to remember they keep in the study, so a new one continues where the old one was.
    """

    def __init__(self, make: Callable[[int], BaseSampler], seed: int) -> None:
        self._make, self._seed = make, seed
        self._sampler, self._number = make(seed), -1

    def _of(self, trial: FrozenTrial) -> BaseSampler:
        if trial.number != self._number:
            # A large odd factor keeps the streams of neighbouring seeds and trials apart.
            mixed = (self._seed * 1_000_003 + trial.number * 7_919 + 1) % 2**31
            self._sampler, self._number = self._make(mixed), trial.number
        return self._sampler

    def before_trial(self, study: Study, trial: FrozenTrial) -> None:
        self._of(trial).before_trial(study, trial)

    def infer_relative_search_space(self, study: Study, trial: FrozenTrial) -> dict[str, BaseDistribution]:
        return self._of(trial).infer_relative_search_space(study, trial)

    def sample_relative(
        self, study: Study, trial: FrozenTrial, search_space: dict[str, BaseDistribution]
    ) -> dict[str, Any]:
        return self._of(trial).sample_relative(study, trial, search_space)

    def sample_independent(
        self, study: Study, trial: FrozenTrial, param_name: str, param_distribution: BaseDistribution
    ) -> Any:
        return self._of(trial).sample_independent(study, trial, param_name, param_distribution)

    def after_trial(
        self, study: Study, trial: FrozenTrial, state: TrialState, values: Sequence[float] | None
    ) -> None:
        self._of(trial).after_trial(study, trial, state, values)
