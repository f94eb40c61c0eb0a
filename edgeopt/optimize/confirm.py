"""`edgeopt confirm`: the best of a study that measured nothing, measured on hardware.

It is a study of its own, in a folder below the first: the same model, data and goal, the same references, the
five best candidates and no search; so it resumes, waits for the board and ends like any other.
"""

from __future__ import annotations

import json
import re
import time
from collections.abc import Iterable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from edgeopt.core.errors import ConfigError, StudyError
from edgeopt.core.files import write_atomically
from edgeopt.core.objective import Objective
from edgeopt.core.progress import Observer
from edgeopt.core.quantity import Quantity
from edgeopt.core.trial import Trial
from edgeopt.optimize import kept
from edgeopt.optimize.estimate import estimate
from edgeopt.optimize.final import Final, run_final, setup
from edgeopt.optimize.job import LEARNT, Job, open_job
from edgeopt.optimize.loop import run_baseline, run_given
from edgeopt.optimize.outcome import OptimizeResult, as_now, best_so_far, earlier, finished
from edgeopt.options import BoardOptions, Budget, ConfirmOptions
from edgeopt.report.agreement import Pair, agreement
from edgeopt.study.read import StoredStudy, read

FILE_NAME = "confirm.json"
MOST = 5
"""Candidates that are measured again."""


@dataclass(frozen=True, slots=True)
class Chosen:
    """What is measured again, from a study that measured nothing."""

    study: StoredStudy
    references: tuple[Trial, ...]
    candidates: tuple[Trial, ...]

    @property
    def all(self) -> tuple[Trial, ...]:
        return (*self.references, *self.candidates)


def confirm(options: ConfirmOptions, observer: Observer) -> OptimizeResult:
    """Measure the references and the five best candidates of an emulated or predicted study on a board.

    Returns:
        The document of `optimize`, of measured figures, with `confirmed`: both figures of every set-up, their
        ratio and rank correlation.

    Raises:
        ConfigError: The study was measured already.
        StudyError: There is no study, or its model or data have changed since.
        EdgeoptError: As `optimize`; the same command resumes.
    """
    started = time.monotonic()
    study = read(options.folder)
    asked = kept.from_json(study.notes.get(kept.NOTE), _folder(options))
    chosen = choose(study, asked.objective)
    asked = replace(
        asked,
        board=BoardOptions(asked.board.device, options.board, "measured", options.wait_s),
        budget=Budget(trials=len(chosen.candidates)),
        effort=options.effort or asked.effort,
        sampler="random",  # nothing is proposed
        learnt_in=options.folder.absolute() / LEARNT,
        fresh=options.fresh,
        command=options.command,
    )
    with open_job(asked, observer) as job:
        _check_unchanged(job, study)
        return best_so_far(job, started, lambda: _run(job, chosen, started))


def choose(study: StoredStudy, objective: Objective) -> Chosen:
    """The references that ran, and the best candidates, each set-up once.

    Raises:
        ConfigError: The study is of measured figures.
        StudyError: It has not measured its original yet.
    """
    original = next((t for t in study.trials if t.kind == "baseline" and t.measurement), None)
    if original is None or original.measurement is None:
        raise StudyError(f"the study in {study.folder} has nothing to confirm yet")
    if original.measurement.provenance == "measured":
        raise ConfigError(
            f"the study in {study.folder} was measured, on {study.identity.get('board')}: nothing to confirm",
            hint="confirm is for emulated and predicted studies",
        )
    seen = {setup(original)}
    references = _distinct((t for t in study.trials if t.kind == "reference" and t.measurement), seen)
    feasible = [
        (figure, t.number, t)
        for t in study.trials
        if t.kind == "candidate" and (figure := objective.of_trial(t)) is not None
    ]
    best = [t for _, _, t in sorted(feasible, key=lambda entry: entry[:2])]
    return Chosen(study, tuple(references), tuple(_distinct(best, seen)[:MOST]))


def _distinct(trials: Iterable[Trial], seen: set[tuple[str, str]]) -> list[Trial]:
    found = []
    for trial in trials:
        if (key := setup(trial)) not in seen:
            seen.add(key)
            found.append(trial)
    return found


def _folder(options: ConfirmOptions) -> Path:
    """Below the study's, one for each board; an address is named without its query."""
    name = re.sub(r"[^A-Za-z0-9._@-]+", "-", options.board.partition("?")[0]).strip("-")
    return options.folder.absolute() / f"confirm-{name}"


def _check_unchanged(job: Job, study: StoredStudy) -> None:
    now = {"model": job.inputs.model.digest, "data": job.inputs.digest}
    changed = [name for name, digest in now.items() if study.identity.get(name) != digest]
    if changed:
        raise StudyError(
            f"the {' and the '.join(changed)} changed since the study in {study.folder} was made",
            hint="restore what it was made with, or repeat the study",
        )


def _run(job: Job, chosen: Chosen, started: float) -> OptimizeResult:
    before = len(job.store.trials)
    path = job.options.output / FILE_NAME
    job.observer.announce(
        f"measuring again: the original, {len(chosen.references)} references and the "
        f"{len(chosen.candidates)} best candidates of {chosen.study.folder}"
    )
    job.observer.announce(estimate(job))
    run_baseline(job)
    run_given(job, chosen.all)
    if len(job.store.trials) == before and path.is_file() and (result := earlier(job)):
        job.observer.announce("nothing is left to do: this is the result of the earlier run")
        confirmed: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))["confirmed"]
        return OptimizeResult(result.document | {"confirmed": confirmed}, result.exit_code)
    final = run_final(job)
    result = finished(job, final, time.monotonic() - started)
    document = result.document | {
        "confirmed": agreement(str(chosen.study.folder), _pairs(job, chosen, final))
    }
    write_atomically(path, (json.dumps(document, indent=1) + "\n").encode())
    return OptimizeResult(document, result.exit_code)


def _pairs(job: Job, chosen: Chosen, final: Final) -> list[Pair]:
    """Of each set-up, what the study said and what the board says: in the final stage where it took part."""
    confirmed = {c.trial.number: c.measurement.latency for c in final.contenders}
    control_now_ms = final.contenders[0].measurement.p50_ms
    measured: dict[str, Quantity] = {}
    for trial in job.store.trials:
        now = as_now(trial.measurement, job, control_now_ms)
        if now is not None:
            measured[trial.candidate.key] = confirmed.get(trial.number, now.latency)
    original = next(t for t in chosen.study.trials if t.kind == "baseline")
    return [
        Pair(trial.name, trial.kind, trial.measurement.latency, measured[trial.candidate.key])
        for trial in (original, *chosen.all)
        if trial.measurement is not None and trial.candidate.key in measured
    ]
