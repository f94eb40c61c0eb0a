"""What Optuna is told of a trial, so that its own samplers learn as well."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import TYPE_CHECKING

from edgeopt.core.objective import Objective
from edgeopt.core.trial import Trial

if TYPE_CHECKING:
    from optuna.trial import TrialState


def outcome(
    trial: Trial, objective: Objective | None, earlier: Sequence[Trial]
) -> tuple[TrialState, float | None, float | None]:
    """State, value and constraint (> 0: violated) of a trial.

    Optuna's samplers learn from a constraint only where there is a value too. A candidate that was refused
    before it was measured has none; with the constraint it can never be best, so the worst value measured so
    far stands in for it. That value is Optuna's alone: edgeopt reads its own record. Failed trials are FAIL,
    which samplers ignore: they say nothing of how good a candidate is.
    """
    from optuna.trial import TrialState

    if trial.state == "FAILED":
        return TrialState.FAIL, None, None
    value = _value(trial, objective)
    if trial.state == "COMPLETE":
        return (TrialState.FAIL, None, None) if value is None else (TrialState.COMPLETE, value, 0.0)
    if value is None:
        value = max((v for t in earlier if (v := _value(t, objective)) is not None), default=None)
    if value is None:
        return TrialState.PRUNED, None, _excess(trial)
    return TrialState.COMPLETE, value, _excess(trial)


def _value(trial: Trial, objective: Objective | None) -> float | None:
    if trial.measurement is None or trial.artifact is None:
        return None
    return (objective or Objective()).value(trial.measurement, trial.artifact)


def _excess(trial: Trial) -> float:
    """How far outside the constraints: by the drop where that is known, so that samplers see a slope."""
    drop = trial.accuracy.drop if trial.accuracy else None
    return max(drop, 1e-6) if drop is not None and re.match("accuracy", trial.reason or "accuracy") else 1.0
