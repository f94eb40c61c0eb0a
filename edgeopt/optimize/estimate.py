"""How long a study will need its board: said before it begins."""

from __future__ import annotations

from edgeopt.core.measurement import Protocol
from edgeopt.graph.references import references
from edgeopt.optimize.final import MOST_FINALISTS, MOST_REFERENCES
from edgeopt.optimize.job import Job

START_S = 1.5
"""To start a process, load the runtime and a model, and warm up."""


def estimate(job: Job) -> str:
    """The board time of references, search and final stage, in a sentence."""
    if job.board.provenance == "predicted":
        return f"{len(job.space.points)} decisions; predicting needs no board time"
    screen, final = job.screening, job.protocols["final"]
    recipes = len(references(job.space, job.board.facts.cores))
    first_s = _seconds(screen, 1) + recipes * _seconds(screen, 2)
    last_s = _seconds(final, 1 + MOST_REFERENCES + MOST_FINALISTS)
    budget = job.options.budget
    search_s = budget.seconds if budget.seconds is not None else (budget.trials or 0) * _seconds(screen, 2)
    total_min = (first_s + search_s + last_s) / 60
    return (
        f"{len(job.space.points)} decisions; board time up to {total_min:.0f} min: "
        f"{recipes + 1} references {first_s:.0f} s, search {search_s:.0f} s, final stage up to {last_s:.0f} s"
    )


def _seconds(protocol: Protocol, models: int) -> float:
    return protocol.processes * models * (protocol.window_s + START_S)
