"""One search against a recorded oracle: a sampler, a seed, a budget of measurements, no board."""

from __future__ import annotations

import hashlib
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import edgeopt.search
from edgeopt.bench.answers import Answers, Fitted, Pool, Recorded, Way
from edgeopt.bench.coverage import started
from edgeopt.core.trial import Trial
from edgeopt.optimize.clock import PATIENCE
from edgeopt.search.context import SearchContext, exhausted


@dataclass(frozen=True, slots=True)
class Run:
    """What one search found.

    Attributes:
        best: `(M,)` the best feasible figure after each measurement; the first is that of the references.
        hypervolume: `(M,)` of figure and drop, in units of the rectangle that the original and the allowed
            drop span; None without data.
        trials: Proposals, those refused without a measurement included.
        changed: Mean number of decisions in which answered and asked (`pool`), or nearest recorded and asked
            (`fitted`) candidates differ.
        thinking_s: Wall time of all that was not answering.
    """

    oracle: str
    way: Way
    sampler: str
    seed: int
    best: tuple[float, ...]
    hypervolume: tuple[float, ...] | None
    trials: int
    changed: float | None
    thinking_s: float

    def to_json(self) -> dict[str, Any]:
        """The inverse of `from_json`."""
        return asdict(self)

    @classmethod
    def from_json(cls, fields: dict[str, Any]) -> Run:
        """The inverse of `to_json`."""
        volume = fields["hypervolume"]
        known = {"best": tuple(fields["best"]), "hypervolume": None if volume is None else tuple(volume)}
        return cls(**(fields | known))


def replay(recorded: Recorded, way: Way, sampler: str, seed: int, budget: int) -> Run:
    """Search until `budget` measurements are made, or nothing is left to propose.

    As in a study, what is refused without a measurement costs none, and what was measured once is known.

    Raises:
        ConfigError: The sampler refuses the space.
    """
    oracle = recorded.oracle
    answers: Answers = (
        Pool(recorded, [t.candidate for t in oracle.given]) if way == "pool" else Fitted(recorded)
    )
    context = SearchContext(
        oracle.space, oracle.objective, seed, None, list,
        original_score=lambda: oracle.original_score,
        region_ms=lambda: oracle.region_ms,
        region_noise=lambda: oracle.region_noise,
        savings=lambda: oracle.savings,
    )  # fmt: skip
    begun = time.monotonic()
    study = started(context, sampler, seed, oracle.given, answers.instead)
    found = Found(recorded, study.trials)
    seen = {_artifact(trial) for trial in study.trials}
    proposed, answering_s = 0, 0.0
    while len(found.best) <= budget and proposed - len(found.best) < PATIENCE * budget:
        if answers.is_empty or exhausted(oracle.space, study.trials):
            break
        number, candidate = study.ask()
        asked = time.monotonic()
        trial = answers.trial(number, candidate)
        answering_s += time.monotonic() - asked
        study.tell(trial)
        proposed += 1
        if trial.measurement is not None and _artifact(trial) not in seen:
            seen.add(_artifact(trial))
            found.add(trial)
    changed = sum(answers.changed) / len(answers.changed) if answers.changed else None
    return Run(
        oracle.digest, way, sampler, seed, tuple(found.best), found.volumes, proposed, changed,
        time.monotonic() - begun - answering_s,
    )  # fmt: skip


class Found:
    """The best and the front so far."""

    def __init__(self, recorded: Recorded, given: Sequence[Trial]) -> None:
        self._recorded = recorded
        self._points: list[tuple[float, float]] = []
        self.best: list[float] = []
        self._volumes: list[float] = []
        figures = [f for t in given if (f := recorded.oracle.objective.of_trial(t)) is not None]
        self._original = recorded.figure(given[0]) if given else None
        for trial in given:
            self._note(trial)
        self.best.append(min(figures, default=float("inf")))
        self._volumes.append(hypervolume(self._points))

    @property
    def volumes(self) -> tuple[float, ...] | None:
        return tuple(self._volumes) if self._recorded.allowed else None

    def add(self, trial: Trial) -> None:
        """One more measurement."""
        figure = self._recorded.oracle.objective.of_trial(trial)
        self._note(trial)
        self.best.append(min(self.best[-1], float("inf") if figure is None else figure))
        self._volumes.append(hypervolume(self._points))

    def _note(self, trial: Trial) -> None:
        figure, drop = self._recorded.oracle.objective.of_trial(trial), None
        if trial.accuracy is not None:
            drop = trial.accuracy.drop
        if figure is not None and drop is not None and self._original and self._recorded.allowed:
            self._points.append((figure / self._original, max(drop, 0.0) / self._recorded.allowed))


def hypervolume(points: Sequence[tuple[float, float]]) -> float:
    """Area of the unit square that is dominated; smaller is better in both, (1, 1) is the reference point."""
    area, ceiling = 0.0, 1.0
    for x, y in sorted(points):
        if x < 1.0 and y < ceiling:
            area += (1.0 - x) * (ceiling - y)
            ceiling = y
    return area


def code_digest() -> str:
    """Of the samplers' source: with other code, a kept run is of another sampler."""
    folder = Path(edgeopt.search.__file__).parent
    digest = hashlib.sha256()
    for path in sorted(folder.rglob("*.py")):
        digest.update(path.relative_to(folder).as_posix().encode())
        digest.update(path.read_bytes())
    return digest.hexdigest()


def _artifact(trial: Trial) -> str:
    if trial.artifact is None or trial.measurement is None:
        return trial.candidate.key
    return f"{trial.artifact.sha256} {sorted(trial.artifact.session_options.items())}"
