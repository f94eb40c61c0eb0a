"""A study that is kept nowhere: for replaying searches by the thousand."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

from edgeopt.core.candidate import Candidate
from edgeopt.core.objective import Objective
from edgeopt.core.space import SearchSpace
from edgeopt.core.trial import Trial
from edgeopt.study.outcome import outcome

if TYPE_CHECKING:
    from optuna.distributions import BaseDistribution
    from optuna.samplers import BaseSampler
    from optuna.trial import FrozenTrial

MakeSampler = Callable[[Callable[[], Sequence[Trial]]], "BaseSampler"]


class MemoryStudy:
    """Ask and tell as `StudyStore`, with what Optuna is told of each trial the same.

    Attributes:
        trials: Finished, by number.
    """

    def __init__(self, space: SearchSpace, objective: Objective, make_sampler: MakeSampler) -> None:
        import optuna

        optuna.logging.set_verbosity(optuna.logging.ERROR)
        self.space, self.trials = space, list[Trial]()
        self._objective = objective
        self._distributions: dict[str, BaseDistribution] = {
            p.site: optuna.distributions.CategoricalDistribution(p.options) for p in space.points
        }
        self._study = optuna.create_study(sampler=make_sampler(lambda: self.trials))

    def add(self, trial: Trial) -> None:
        """A finished trial that nobody proposed here: the next number is its."""
        self._study.add_trial(self._frozen(trial))
        self.trials.append(trial)

    def ask(self) -> tuple[int, Candidate]:
        """The next proposal and its number."""
        asked = self._study.ask(self._distributions)
        return asked.number, self.space.candidate(asked.params)

    def tell(self, trial: Trial) -> None:
        """The result of the trial that was asked for last, under its number."""
        state, value, constraint = outcome(trial, self._objective, self.trials)
        trial_id = self._study.get_trials(deepcopy=False)[trial.number]._trial_id
        if constraint is not None:
            self._study._storage.set_trial_system_attr(trial_id, "constraints", [constraint])
        self._study.tell(trial.number, value, state=state)
        self.trials.append(trial)

    def _frozen(self, trial: Trial) -> FrozenTrial:
        import optuna

        state, value, constraint = outcome(trial, self._objective, self.trials)
        decided = dict(trial.candidate.decisions)
        attributes: dict[str, Any] = {} if constraint is None else {"constraints": [constraint]}
        return optuna.trial.create_trial(
            state=state,
            value=value,
            params={site: decided[site] for site in self._distributions},
            distributions=self._distributions,
            system_attrs=attributes,
        )
