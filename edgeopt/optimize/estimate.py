"""How long a study will need its board: said before it begins."""

from __future__ import annotations

from edgeopt.core.measurement import Protocol
from edgeopt.graph.references import references
from edgeopt.optimize.final import MOST_FINALISTS, MOST_REFERENCES
from edgeopt.optimize.job import Job
from edgeopt.optimize.loop import ONCE_S

START_S = 1.5
"""To start a process, load the runtime and a model, and warm up."""


def estimate(job: Job) -> str:
    """The board time of references, search and final stage, and what the effort does to it, in a sentence."""
    return _board_time(job) + _effort(job)


def _effort(job: Job) -> str:
    effort = job.options.effort
    if effort == "normal":
        return ""
    if job.board.provenance != "measured":
        return f"; --effort {effort} changes nothing, for {job.board.provenance} figures take no windows"
    return "; --effort quick: short windows, wide intervals" if effort == "quick" else ""


def _board_time(job: Job) -> str:
    if job.board.provenance == "predicted":
        return f"{len(job.space.points)} decisions; predicting needs no board time"
    if job.board.provenance == "emulated":
        return _emulated(job)
    screen, final = job.screening, job.protocols["final"]
    recipes = len(references(job.space, job.board.facts.cores, small=job.is_small_wanted))
    first_s = _seconds(screen, 1) + recipes * _seconds(screen, 2)
    last_s = _seconds(final, 1 + MOST_REFERENCES + MOST_FINALISTS)
    budget = job.options.budget
    search_s = budget.seconds if budget.seconds is not None else (budget.trials or 0) * _seconds(screen, 2)
    total_min = (first_s + search_s + last_s) / 60
    return (
        f"{len(job.space.points)} decisions; board time up to {total_min:.0f} min: "
        f"{recipes + 1} references {first_s:.0f} s, search {search_s:.0f} s, final stage up to {last_s:.0f} s"
    )


def _emulated(job: Job) -> str:
    """From what the original took: one count of each file, and nothing again at the end."""
    once_s = float(job.store.notes.get(ONCE_S) or 0.0)
    recipes = len(references(job.space, job.board.facts.cores, small=job.is_small_wanted))
    budget = job.options.budget
    first_s = 2 * recipes * once_s  # most recipes are also profiled, region by region
    search_s = budget.seconds if budget.seconds is not None else (budget.trials or 0) * once_s
    return (
        f"{len(job.space.points)} decisions; to emulate the original took {once_s:.0f} s, so "
        f"{recipes} references take up to {first_s / 60:.0f} min, the search up to {search_s / 60:.0f} min; "
        "the final stage counts nothing again"
    )


def _seconds(protocol: Protocol, models: int) -> float:
    return protocol.processes * models * (protocol.window_s + START_S)
