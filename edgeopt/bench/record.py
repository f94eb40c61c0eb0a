"""Records an oracle: references and covering candidates, each built, gated and measured as in a study."""

from __future__ import annotations

import platform
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from edgeopt import __version__
from edgeopt.bench.coverage import cover
from edgeopt.bench.oracle import SUFFIX, Oracle
from edgeopt.core.candidate import Candidate
from edgeopt.core.errors import ConfigError
from edgeopt.core.progress import Observer
from edgeopt.core.trial import Trial
from edgeopt.optimize.job import Job, open_job
from edgeopt.optimize.loop import run_baseline, run_candidate, run_references
from edgeopt.options import OptimizeOptions

SAVED_EVERY = 25
STALE = 400
"""Proposals in a row that were all recorded before: then the space has no more to give."""


def record(options: OptimizeOptions, count: int, path: Path, observer: Observer) -> Oracle:
    """Record `count` candidates beside the references into `path`; what an earlier run recorded is kept.

    Args:
        options: Its `output` is the folder of the study that makes this resumable.

    Raises:
        EdgeoptError: As `optimize`.
    """
    if not path.name.endswith(SUFFIX):
        raise ConfigError(f"{path.name}: an oracle's name ends in {SUFFIX}")
    with open_job(options, observer) as job:
        run_baseline(job)
        run_references(job)
        observer.stage("record", count)
        known = {trial.candidate: trial for trial in job.store.trials}
        recorded: set[Candidate] = set()
        in_vain = 0

        def evaluate(candidate: Candidate, source: str) -> Trial:
            nonlocal in_vain
            if candidate not in known:
                known[candidate] = run_candidate(job, candidate, source)
            in_vain += 1
            if known[candidate].kind == "candidate" and candidate not in recorded:
                recorded.add(candidate)
                in_vain = 0
                observer.advance()
            return replace(known[candidate], kind="candidate")

        try:
            for _ in cover(job.context, evaluate):
                if len(recorded) >= count or in_vain > STALE:
                    break
                if in_vain == 0 and len(recorded) % SAVED_EVERY == 0:
                    oracle_of(job, job.store.trials).save(path)
        finally:  # also of a recording that is interrupted, or whose board is gone
            oracle = oracle_of(job, job.store.trials)
            oracle.save(path)
        return oracle


def oracle_of(job: Job, trials: Sequence[Trial]) -> Oracle:
    """What a study's trials say, each candidate once."""
    first: dict[Candidate, Trial] = {}
    for trial in trials:
        # What runs on another runtime has no codes of its own here: it would stand for another candidate.
        if trial.candidate.runtime in job.runtimes:
            first.setdefault(trial.candidate, trial)
    kept = sorted(first.values(), key=lambda t: (t.kind == "candidate", t.number))
    options, board = job.options, job.board
    about = {
        "model": options.model.stem if options.model.stem != "model" else options.model.parent.name,
        "device": board.device,
        "board": board.name,
        "board_state": board.facts.epoch,
        "provenance": board.provenance,
        "pairwise_error": board.pairwise_error,
        "runtimes": dict(board.facts.runtimes),
        "data": job.inputs.digest,
        "metric": job.inputs.metric_name,
        "effort": options.effort,
        "seed": options.seed,
        "recorded_by": {"edgeopt": __version__, "python": platform.python_version()},
    }
    return Oracle(
        about=about,
        space=job.space,
        objective=options.objective,
        trials=[replace(trial, number=number) for number, trial in enumerate(kept)],
        sources=[trial.kind if trial.kind != "candidate" else trial.name for trial in kept],
        original_score=job.evaluator.original_score,
        region_ms=job.context.region_ms(),
        region_noise=job.context.region_noise(),
        savings=job.context.savings(),
    )
