"""What a replay answers when a sampler proposes: two ways, each with its own fault (docs/adr).

`pool`: the nearest candidate that was recorded and not asked for yet takes the proposal's place, before
anybody learns of it. Every figure is one that a board gave; the last changes that a sampler makes are lost.

`fitted`: each proposal is answered as it is, by what was recorded or else by a regression on all that was
recorded. It is of another family than the samplers' own surrogate; its held-out error is part of the result.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Literal, Protocol

import numpy as np

from edgeopt.bench.oracle import Oracle
from edgeopt.bench.regression import Regression
from edgeopt.core.candidate import Candidate
from edgeopt.core.quantity import Quantity
from edgeopt.core.trial import Accuracy, Trial
from edgeopt.search.bayes import Floats
from edgeopt.search.layout import FAMILIES, Codes, Layout

Way = Literal["pool", "fitted"]
WAYS: tuple[Way, ...] = ("pool", "fitted")


class Answers(Protocol):
    """Of one replay: what was asked is remembered.

    Attributes:
        changed: In how many decisions each proposal differed from what is recorded.
    """

    changed: list[int]

    @property
    def is_empty(self) -> bool:
        """Nothing is left to answer with."""
        ...

    def instead(self, candidate: Candidate) -> Candidate:
        """What takes a proposal's place."""
        ...

    def trial(self, number: int, candidate: Candidate) -> Trial:
        """What the study learns of it."""
        ...


@dataclass(frozen=True)
class Recorded:
    """An oracle, encoded once for all replays.

    Attributes:
        codes: `(N, P)` of its trials.
    """

    oracle: Oracle

    @cached_property
    def layout(self) -> Layout:
        return Layout(self.oracle.space)

    @cached_property
    def codes(self) -> Codes:
        return self.layout.encode([trial.candidate for trial in self.oracle.trials])

    @cached_property
    def by_candidate(self) -> dict[Candidate, Trial]:
        return {trial.candidate: trial for trial in self.oracle.trials}

    @cached_property
    def weights(self) -> Floats:
        """`(P,)` what a different decision adds to a distance: each family's add up to 1."""
        family = self.layout.family
        sizes = np.bincount(family, minlength=len(FAMILIES))
        return np.asarray(1.0 / sizes[family])

    @cached_property
    def log_figure(self) -> Regression:
        """Of the objective's figure, from all candidates that have one."""
        measured = [n for n, trial in enumerate(self.oracle.trials) if self.figure(trial) is not None]
        values = np.log([self.figure(self.oracle.trials[n]) or np.nan for n in measured])
        return Regression(self.layout, self.codes[measured], values)

    @cached_property
    def drop(self) -> Regression | None:
        """Of the drop as a share of what is allowed; None without data."""
        allowed = self.allowed
        known = [n for n, trial in enumerate(self.oracle.trials) if _drop(trial) is not None]
        if not allowed or not known:
            return None
        values = np.array([(_drop(self.oracle.trials[n]) or 0.0) / allowed for n in known])
        return Regression(self.layout, self.codes[known], np.arcsinh(values))

    @property
    def allowed(self) -> float | None:
        """Absolute drop; None without data."""
        score = self.oracle.original_score
        return None if score is None else self.oracle.objective.max_drop.allowed(score)

    def figure(self, trial: Trial) -> float | None:
        """The objective's figure, whether it was feasible or not; None where it was not measured."""
        if trial.state == "FAILED" or trial.measurement is None or trial.artifact is None:
            return None
        return self.oracle.objective.value(trial.measurement, trial.artifact)

    def distances(self, candidate: Candidate) -> Floats:
        """`(N,)` to each recorded candidate."""
        row = self.layout.encode([candidate])
        return np.asarray((self.codes != row) @ self.weights)


class Pool:
    """The nearest recorded candidate that this replay has not had yet; of equally near ones the first."""

    def __init__(self, recorded: Recorded, given: Iterable[Candidate]) -> None:
        self._recorded = recorded
        had = set(given)
        self._left = np.array([t.candidate not in had for t in recorded.oracle.trials], dtype=bool)
        self.changed: list[int] = []

    @property
    def is_empty(self) -> bool:
        return not self._left.any()

    def instead(self, candidate: Candidate) -> Candidate:
        distances = np.where(self._left, self._recorded.distances(candidate), np.inf)
        nearest = int(np.argmin(distances))
        found = self._recorded.oracle.trials[nearest].candidate
        self._left[nearest] = False
        self.changed.append(len(found.changes(candidate)))
        return found

    def trial(self, number: int, candidate: Candidate) -> Trial:
        known = self._recorded.by_candidate[candidate]
        return replace(known, number=number, kind="candidate", replay_of=None)


class Fitted:
    """The record where there is one, else the regressions; a failure is that of the nearest recorded one."""

    def __init__(self, recorded: Recorded) -> None:
        self._recorded = recorded
        self.changed: list[int] = []

    @property
    def is_empty(self) -> bool:
        return False

    def instead(self, candidate: Candidate) -> Candidate:
        return candidate

    def trial(self, number: int, candidate: Candidate) -> Trial:
        recorded = self._recorded
        if known := recorded.by_candidate.get(candidate):
            self.changed.append(0)
            return replace(known, number=number, kind="candidate", replay_of=None)
        distances = recorded.distances(candidate)
        nearest = recorded.oracle.trials[int(np.argmin(distances))]
        self.changed.append(len(nearest.candidate.changes(candidate)))
        trial = Trial(number, candidate, "COMPLETE", name=f"candidate-{number}")
        if nearest.state == "FAILED":
            return replace(trial, state="FAILED", reason=f"as {nearest.name}: {nearest.reason}")
        return self._predicted(trial, candidate)

    def _predicted(self, trial: Trial, candidate: Candidate) -> Trial:
        recorded = self._recorded
        row = recorded.layout.encode([candidate])
        like = next(t for t in recorded.oracle.trials if t.measurement is not None and t.artifact is not None)
        assert like.measurement is not None and like.artifact is not None  # noqa: S101, PT018
        accuracy = like.accuracy
        if recorded.drop is not None and recorded.allowed and accuracy is not None:
            drop = float(np.sinh(recorded.drop.predict(row)[0])) * recorded.allowed
            accuracy = Accuracy(None, drop, None, accuracy.n, accuracy.basis, "search")
            reason = recorded.oracle.objective.accuracy_violation(accuracy, recorded.oracle.original_score)
            if reason is not None:
                return replace(trial, state="INFEASIBLE", accuracy=accuracy, reason=reason)
        ms = float(np.exp(recorded.log_figure.predict(row)[0]))
        quantity = Quantity(ms, "ms", ms, ms, like.measurement.provenance, "regression on the record")
        artifact = replace(like.artifact, candidate_key=candidate.key, sha256=candidate.key)
        return replace(
            trial,
            artifact=artifact,
            measurement=replace(like.measurement, latency=quantity, drift=None),
            accuracy=accuracy,
        )


def _drop(trial: Trial) -> float | None:
    return trial.accuracy.drop if trial.accuracy else None
