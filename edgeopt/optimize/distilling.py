"""After the search: the best changed structures learn from the original, and are tried once more.

Training costs as much as many measurements, so it is not done for each candidate. Chosen are structures that
would enter the final stage, in turns with those that the accuracy gate refused: the first may come through
confirm, the second may come through the gate. What is trained becomes a candidate of its own (`recovery:
distilled`), gated, measured and confirmed like all others.

What was chosen is noted, so that a study which is resumed goes on with it, and ends.
"""

from __future__ import annotations

import time
from collections.abc import Iterable
from itertools import chain, zip_longest
from typing import Any

from edgeopt.core.candidate import DISTILLED, RECOVERY
from edgeopt.core.errors import CandidateFailed, ModelError
from edgeopt.core.trial import Trial
from edgeopt.graph.builder import restructured
from edgeopt.graph.structuring import Structures
from edgeopt.optimize.final import select
from edgeopt.optimize.job import Job
from edgeopt.optimize.loop import run_candidate

MOST = 4
"""Structures that share the budget."""
CLASSES = ("top1", "f1", "auc", "agreement")
"""Metrics that look at the classes of output 0."""
CHOSEN, SPENT_S, RESULTS = "distil:chosen", "distil:seconds", "distil:results"


def distil_best(job: Job) -> None:
    """Distil the best structures within `--recover-budget`; nothing without it.

    Raises:
        EdgeoptError: See `loop`; weights that were learnt are kept.
    """
    budget_s, structures = job.options.recover_budget_s, job.evaluator.builder.structures
    if budget_s is None:
        return
    if structures is None:
        job.observer.announce("--recover-budget: there is no data, so no structure was changed")
        return
    chosen = _chosen(job)
    if not chosen:
        job.observer.announce("--recover-budget: no candidate with a changed structure is worth distilling")
        return
    job.observer.stage("distillation", len(chosen))
    for done, trial in enumerate(chosen):
        spent_s = float(job.store.notes.get(SPENT_S) or 0.0)
        share_s = (budget_s - spent_s) / (len(chosen) - done)
        begun = time.monotonic()
        try:
            _distil(job, structures, trial, share_s)
        finally:
            job.store.note(SPENT_S, spent_s + time.monotonic() - begun)
        job.observer.advance()


def document(job: Job) -> dict[str, Any]:
    """What distillation brought, for the answer of a study; nothing where none was asked for."""
    results = job.store.notes.get(RESULTS)
    return {} if not results else {"distilled": list(results.values())}


def sentences(job: Job) -> tuple[str, ...]:
    """The same in words."""
    return tuple(_sentence(one) for one in document(job).get("distilled", ()))


def _chosen(job: Job) -> list[Trial]:
    """What is distilled: as it was noted, unless the search has gone on since."""
    trials = {trial.number: trial for trial in job.store.trials}
    searched = sum(t.kind == "candidate" and not t.candidate.is_distilled for t in trials.values())
    noted = job.store.notes.get(CHOSEN)
    if noted is None or noted["searched"] != searched:
        noted = {"searched": searched, "trials": [trial.number for trial in _best(job)]}
        job.store.note(CHOSEN, noted)
    return [trials[number] for number in noted["trials"]]


def _best(job: Job) -> list[Trial]:
    """Finalists and refused candidates in turns, each structure once."""
    finalists = select(job)[2]
    found: dict[str, Trial] = {}
    for trial in chain.from_iterable(zip_longest(finalists, _refused(job))):
        if trial is None or trial.candidate.is_distilled:
            continue
        if changed := restructured(trial.candidate):
            found.setdefault(repr(sorted(changed.items())), trial)
    return list(found.values())[:MOST]


def _refused(job: Job) -> Iterable[Trial]:
    """Candidates that only their accuracy kept from the board, the most promising first.

    Where something was predicted of them, those that would not have been better than what passed are left
    out, and the best figure comes first; else who lost least.
    """
    objective, trials = job.options.objective, job.store.trials
    figures = [figure for trial in trials if (figure := objective.of_trial(trial)) is not None]
    best = min(figures, default=float("inf"))

    def expected(trial: Trial) -> float | None:
        said = trial.predicted.get(objective.name)
        return None if said is None else said.value

    def loss(trial: Trial) -> float:
        drop = trial.accuracy.drop if trial.accuracy else None
        return float("inf") if drop is None else drop

    refused = [
        trial
        for trial in trials
        if trial.kind == "candidate" and trial.state == "INFEASIBLE" and trial.measurement is None
        and trial.accuracy is not None and (expected(trial) or 0.0) < best
    ]  # fmt: skip
    return sorted(refused, key=lambda trial: (expected(trial) or best, loss(trial), trial.number))


def _distil(job: Job, structures: Structures, trial: Trial, budget_s: float) -> None:
    """Train one, and try what came of it."""
    changed = restructured(trial.candidate)
    known = structures.learnt(changed)
    if known is None and budget_s <= 0:
        return
    if known is None:
        job.observer.announce(f"{trial.name} learns from the original, for up to {budget_s:.0f} s")
    try:
        learnt = known or structures.distil(
            changed, budget_s=budget_s, has_classes=job.inputs.metric_name in CLASSES
        )
    except (CandidateFailed, ModelError) as error:
        job.observer.announce(f"{trial.name} cannot be distilled: {error.message}")
        return
    result: dict[str, Any] = {
        "of": trial.name, "trial": None, "better": learnt.is_better, **learnt.facts,
        "accuracy_before": None, "accuracy_after": None,
    }  # fmt: skip
    if learnt.is_better:
        candidate = job.space.candidate(dict(trial.candidate.decisions) | {RECOVERY: DISTILLED})
        tried = run_candidate(job, candidate, f"{trial.name}-distilled")
        result["trial"] = tried.number
        noted = (job.store.notes.get(RESULTS) or {}).get(trial.name, {})
        if noted.get("trial") == tried.number:
            return
        result |= {"accuracy_before": _score(job, trial), "accuracy_after": _score(job, tried)}
    results = dict(job.store.notes.get(RESULTS) or {})
    if results.get(trial.name) != result:
        job.store.note(RESULTS, results | {trial.name: result})
        job.observer.announce(_sentence(result))


def _score(job: Job, trial: Trial) -> float | None:
    """On all of the search part: the gate stops where a candidate can no longer pass."""
    artifact = job.evaluator.present(trial).artifact
    if job.gate is None or artifact is None:
        return None
    return job.gate.score(job.evaluator.host_run(artifact), "search", full=True).score


def _sentence(result: dict[str, Any]) -> str:
    name = f"{result['of']} distilled"
    if why := result.get("refused"):
        return f"{result['of']} cannot be distilled: {why}; its refitted weights stand"
    if not result["steps"]:
        return f"{name}: the time is too short for the fewest steps; its refitted weights stand"
    taken = f"{result['steps']} steps, {result['seconds']:.0f} s, ended by {result['ended']}"
    if not result["better"]:
        return f"{name}: no better on {result['held_out']} held-out samples ({taken}); refitted weights stand"
    scores = [result[f"accuracy_{when}"] for when in ("before", "after")]
    scored = "" if None in scores else "; score on the search part {:.4f} -> {:.4f}".format(*scores)
    return (
        f"{name}: held-out loss {result['loss_before']:.3g} -> {result['loss_after']:.3g} on "
        f"{result['held_out']} samples ({taken}){scored}"
    )
