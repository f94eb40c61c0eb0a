"""How much of the budget is spent: trials or seconds, across resumptions."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass, field

from edgeopt.core.trial import Trial
from edgeopt.options import Budget

PATIENCE = 10
"""Proposals refused by the host in a row, for each measured one still wanted, before the search gives up."""


def is_measured(trial: Trial) -> bool:
    """Whether a trial used the board and counts against a budget of trials: replays and refusals do not,
    nor what was distilled when the search was over."""
    if trial.candidate.is_distilled:
        return False
    return trial.kind == "candidate" and trial.measurement is not None and trial.replay_of is None


@dataclass(slots=True)
class BudgetClock:
    """Counts a budget down.

    Attributes:
        spent_s: Search seconds of earlier runs of the same study.
    """

    budget: Budget
    spent_s: float = 0.0
    _started: float = field(default_factory=time.monotonic)

    @property
    def elapsed_s(self) -> float:
        """Search seconds so far, earlier runs included."""
        return self.spent_s + time.monotonic() - self._started

    def is_over(self, trials: Sequence[Trial], under_way: int = 0) -> bool:
        """Whether the budget is spent, or refusals show that nothing is left to find.

        Args:
            under_way: Trials that the board is measuring now.
        """
        if self.budget.seconds is not None:
            return self.elapsed_s >= self.budget.seconds
        wanted = self.budget.trials or 0
        measured = sum(map(is_measured, trials)) + under_way
        proposed = sum(trial.kind == "candidate" for trial in trials) + under_way
        return measured >= wanted or proposed - measured >= PATIENCE * wanted

    def left(self, trials: Sequence[Trial]) -> tuple[str, float]:
        """What is left in words, and the fraction used."""
        if self.budget.seconds is not None:
            left_s = max(0.0, self.budget.seconds - self.elapsed_s)
            return f"{left_s / 60:.0f} min", 1 - left_s / self.budget.seconds
        wanted, measured = self.budget.trials or 0, sum(map(is_measured, trials))
        left = max(0, wanted - measured)
        return f"{left} trial{'' if left == 1 else 's'}", measured / wanted if wanted else 1.0
