"""What the report tells beside the result document."""

from __future__ import annotations

from datetime import UTC, datetime

from edgeopt import __version__
from edgeopt.optimize import distilling
from edgeopt.optimize.final import Final
from edgeopt.optimize.job import Job
from edgeopt.report.context import ReportContext, described, thin

INTERRUPTED = "interrupted before the final stage: figures are those of the screening"


def context(job: Job, final: Final | None) -> ReportContext:
    """Facts about a study for its page and for `best.json`; `final` is None where it was interrupted."""
    facts = job.board.facts
    known = {
        "model": facts.model,
        "cores": facts.cores,
        "machine": facts.machine,
        "memory": f"{facts.ram_bytes / 2**30:.1f} GiB" if facts.ram_bytes else None,
        "kernel": facts.kernel,
        "system": facts.os,
        "governor": facts.governor,
    }
    notes = (*(() if final is not None else (INTERRUPTED,)), *distilling.sentences(job))
    return ReportContext(
        command=job.options.command,
        created=datetime.now(UTC).isoformat(timespec="seconds"),
        objective=job.options.objective,
        metric=job.inputs.metric_name,
        original_score=job.evaluator.original_score,
        regions=described(job.space.regions),
        samples={c.trial.name: thin(c.measurement.latencies_ms) for c in final.contenders} if final else {},
        worse=final.winner.worse if final else (),
        board_facts={name: str(value) for name, value in known.items() if value is not None},
        protocol=_protocol(job),
        versions={"edgeopt": __version__, "python": facts.python or "unknown", **facts.runtimes},
        notes=notes,
    )


def _protocol(job: Job) -> tuple[str, ...]:
    tie = f"Two variants closer than {100 * job.board.pairwise_error:.0f} % are a tie: the simpler one stays."
    if job.board.provenance == "predicted":
        return (
            "Every latency is a roofline model's, fitted to published latencies; nothing was measured.",
            tie,
        )
    if job.board.provenance == "emulated":
        return (
            "Every latency is priced from the instructions and cache misses of one inference that the real "
            "runtime executed on a virtual board; nothing was clocked.",
            "That count is exact, so each model is counted once, and the final stage compares those counts.",
            tie,
            f"edgeopt confirm {job.options.output} --board NAME measures the result on hardware.",
        )
    screen, final = job.screening, job.protocols["final"]
    setting = job.options.objective.conditions
    return (
        f"Conditions: {setting}.",
        f"Screening: one fresh process, at least {screen.min_runs} runs and {screen.window_s:g} s, "
        f"in turns of {screen.slice_s:g} s with the original.",
        f"Final stage: {final.processes} fresh processes of at least {final.window_s:g} s for each model, "
        f"in turns of {final.slice_s:g} s; ratios are paired by process, and their intervals corrected "
        "for the number of finalists.",
        "Accuracy: data split once into calibration, search and confirm; the bound is of confirm, which the "
        "search never saw.",
    )
