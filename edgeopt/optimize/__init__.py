"""The main job: from options to a better model with its evidence."""

from __future__ import annotations

import time

from edgeopt.core.progress import Observer
from edgeopt.optimize.clock import BudgetClock
from edgeopt.optimize.distilling import distil_best
from edgeopt.optimize.estimate import estimate
from edgeopt.optimize.final import run_final
from edgeopt.optimize.job import Job, open_job
from edgeopt.optimize.loop import run_baseline, run_references, run_search
from edgeopt.optimize.outcome import OptimizeResult, best_so_far, earlier, finished
from edgeopt.options import OptimizeOptions

__all__ = ["OptimizeResult", "optimize"]


def optimize(options: OptimizeOptions, observer: Observer) -> OptimizeResult:
    """Search for a better variant of a model, measuring every candidate on the board.

    Repeating it resumes. On Ctrl-C the best so far is written and returned with exit code 130.

    Raises:
        EdgeoptError: See `edgeopt.core.errors`; what was measured is saved, and the same command resumes.
    """
    started = time.monotonic()
    with open_job(options, observer) as job:
        return best_so_far(job, started, lambda: _run(job, started))


def _run(job: Job, started: float) -> OptimizeResult:
    before = len(job.store.trials)
    is_emulated = job.board.provenance == "emulated"
    if not is_emulated:
        job.observer.announce(estimate(job))
    run_baseline(job)
    if is_emulated:  # how long that takes on this machine, the first emulation has just told
        job.observer.announce(estimate(job))
    run_references(job)
    run_search(job, BudgetClock(job.options.budget, float(job.store.notes.get("search_seconds") or 0.0)))
    distil_best(job)
    if len(job.store.trials) == before and (result := earlier(job)):
        job.observer.announce("nothing is left to do: this is the result of the earlier run")
        return result
    return finished(job, run_final(job), time.monotonic() - started)
