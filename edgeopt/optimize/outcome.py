"""What a study leaves behind: `best.onnx` or `best.tflite`, `best.json`, `report.html` and the answer."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from edgeopt.core.artifact import Artifact
from edgeopt.core.digest import file_digest
from edgeopt.core.errors import BoardError
from edgeopt.core.files import write_atomically
from edgeopt.core.measurement import Measurement
from edgeopt.core.quantity import Quantity
from edgeopt.core.trial import Accuracy, Trial
from edgeopt.field.evidence import DEPLOYMENT
from edgeopt.optimize import deployment, distilling, page
from edgeopt.optimize.final import Final
from edgeopt.optimize.job import BEST_FILES, Job
from edgeopt.optimize.verdict import ratio
from edgeopt.report.context import FILE_NAME, WINNER, Evidence, ReportContext, read_evidence
from edgeopt.report.document import trial_document
from edgeopt.report.html import write_report
from edgeopt.report.ratio import Z_95, modelled_ratio

SPLIT = "split"
"""Entry of `best.json` with the samples of each part: too long for the answer itself."""
INTERRUPTED = 130
"""Exit code of what Ctrl-C ended."""
WORTH_TELLING = 0.1
"""A reference of another runtime that is faster by so much is told of."""
UNMET = 5
"""Exit code where even the original breaks a hard constraint."""


@dataclass(frozen=True, slots=True)
class OptimizeResult:
    """The answer of one `optimize`: the JSON contract's document, and the exit code that it means."""

    document: dict[str, Any]
    exit_code: int


def finished(job: Job, final: Final, wall_s: float) -> OptimizeResult:
    """The answer of a study that ran its final stage."""
    measurements = {c.trial.number: c.measurement for c in final.contenders}
    control_now_ms = measurements[final.contenders[0].trial.number].p50_ms
    document = _document(job, final.winner.trial, measurements, control_now_ms, wall_s)
    document |= {
        "verdict": final.verdict,
        "accuracy": _accuracy(job, final.winner.accuracy, final.verified_on),
        "comparisons": _comparisons(job, final),
        "final": [
            {"name": c.trial.name, "trial": c.trial.number, "rejected": c.rejected, "worse": list(c.worse)}
            for c in final.contenders
        ],
    }
    _write(job, document, final.winner.artifact, page.context(job, final))
    job.store.note(
        "finished", {"trials": len(job.store.trials), "exit_code": 5 if final.winner.rejected else 0}
    )
    return OptimizeResult(document, 5 if final.winner.rejected else 0)


def earlier(job: Job) -> OptimizeResult | None:
    """The answer of an earlier run, if it ended with the very trials that there are now."""
    note = job.store.notes.get("finished")
    return _confirmed(job, note["exit_code"]) if note and note["trials"] == len(job.store.trials) else None


def _confirmed(job: Job, exit_code: int) -> OptimizeResult | None:
    """The answer of the last final stage, if its files are still what and where it says."""
    if not (job.options.output / FILE_NAME).is_file():
        return None
    document = read_evidence(job.options.output).document
    best, wanted = Path(document["artifact"]), document["best"]["sha256"]
    if best.parent != job.options.output or not best.is_file() or file_digest(best) != wanted:
        return None
    if not deployment.is_kept(job.options.output, document):
        return None
    kept_only_there = (SPLIT, DEPLOYMENT, *WINNER)
    return OptimizeResult({k: v for k, v in document.items() if k not in kept_only_there}, exit_code)


def interrupted(job: Job, wall_s: float, exit_code: int) -> OptimizeResult | None:
    """The best so far; None where nothing has been measured yet.

    The answer of an earlier final stage stands: a screening does not replace what was confirmed.
    """
    if job.store.notes.get("finished") and (result := _confirmed(job, exit_code)):
        return result
    best = job.store.best(job.options.objective) or next(
        (trial for trial in job.store.trials if trial.kind == "baseline" and trial.measurement), None
    )
    if best is None:
        return None
    best = job.evaluator.present(best)
    if best.artifact is None:
        return None
    document = _document(job, best, {}, None, wall_s)
    kinds = {"baseline": "original", "reference": "reference", "candidate": "improved"}
    document |= {
        "verdict": kinds[best.kind],
        "accuracy": _accuracy(job, best.accuracy, "host" if best.accuracy else None),
        "comparisons": [],
        "final": [],
    }
    _write(job, document, best.artifact, page.context(job, None))
    return OptimizeResult(document, exit_code)


def best_so_far(job: Job, started: float, run: Callable[[], OptimizeResult]) -> OptimizeResult:
    """What `run` answers; whatever breaks it off, what was found until then is written.

    Raises:
        BoardError: The board is gone, or cannot be measured.
        KeyboardInterrupt: Before anything was measured.
    """
    try:
        return run()
    except KeyboardInterrupt:
        if result := interrupted(job, time.monotonic() - started, INTERRUPTED):
            return result
        raise
    except BoardError:
        interrupted(job, time.monotonic() - started, BoardError.exit_code)
        raise


def _document(
    job: Job,
    best: Trial,
    final: Mapping[int, Measurement],
    control_now_ms: float | None,
    wall_s: float,
) -> dict[str, Any]:
    trials = job.store.trials

    def show(trial: Trial) -> dict[str, Any]:
        confirmed = final.get(trial.number)
        measurement = confirmed or as_now(trial.measurement, job, control_now_ms)
        shown = trial_document(trial, job.space.default(), measurement=measurement)
        return shown | {"drift_corrected": confirmed is None and measurement is not trial.measurement}

    measured = [t for t in trials if t.measurement is not None and t.replay_of is None]
    return {
        "model": str(job.options.model),
        "device": job.board.device,
        "board": job.board.name,
        "provenance": job.board.provenance,
        "pairwise_error": job.board.pairwise_error,
        "never_worse": job.board.provenance == "measured",
        "baseline": show(next(t for t in trials if t.kind == "baseline")),
        "references": [show(t) for t in trials if t.kind == "reference"],
        "best": show(best),
        "pareto": [show(t) for t in job.store.pareto()],
        "trials": len(trials),
        "measured": len(measured),
        "failed": sum(t.state == "FAILED" for t in trials),
        "device_seconds": job.device_seconds,
        "wall_seconds": wall_s,
        **distilling.document(job),
        "faster_runtime": faster_runtime(job),
        "artifact": str(job.options.output / f"best{best.artifact.path.suffix if best.artifact else ''}"),
    }


def faster_runtime(job: Job) -> dict[str, Any] | None:
    """The best reference of a runtime that was not asked for, where it is clearly faster than the best of
    those that were; None where there is none."""
    measured = [t for t in job.store.trials if t.measurement is not None and t.kind != "candidate"]
    foreign = [t for t in measured if t.candidate.runtime not in job.runtimes and _keeps_accuracy(job, t)]
    own = [t for t in measured if t.candidate.runtime in job.runtimes and t.state == "COMPLETE"]
    if not foreign or not own:
        return None
    there, here = (min(map(_beside_the_control, trials)) for trials in (foreign, own))
    if there > (1 - WORTH_TELLING) * here:
        return None
    fastest = min(foreign, key=_beside_the_control)
    return {
        "runtime": fastest.candidate.runtime, "reference": fastest.name, "ratio": there / here,
        "command": f"{job.options.command} --runtime auto --fresh" if job.options.command else None,
    }  # fmt: skip


def _keeps_accuracy(job: Job, trial: Trial) -> bool:
    """Whether only its runtime speaks against a reference."""
    score = job.evaluator.original_score
    return job.options.objective.accuracy_violation(trial.accuracy, score) is None


def _beside_the_control(trial: Trial) -> float:
    """Its latency as a share of the original's, which was measured in turns with it."""
    assert trial.measurement is not None  # noqa: S101 - callers have looked
    if trial.kind == "baseline":
        return 1.0
    return trial.measurement.control_ratio or math.inf


def as_now(measurement: Measurement | None, job: Job, control_now_ms: float | None) -> Measurement | None:
    """A screening as it would read now: the control tells how the board has drifted since.

    Figures of one answer are thus comparable with each other, whenever each was taken.
    """
    start_ms = job.evaluator.control_p50_ms
    if measurement is None or control_now_ms is None or not start_ms:
        return measurement
    scale = control_now_ms / (start_ms * (measurement.drift or 1.0))
    latency = measurement.latency
    return replace(
        measurement,
        latency=Quantity(
            latency.value * scale, latency.unit, latency.low * scale, latency.high * scale,
            latency.provenance, latency.source,
        ),
        latencies_ms=tuple(ms * scale for ms in measurement.latencies_ms),
    )  # fmt: skip


def _comparisons(job: Job, final: Final) -> list[dict[str, Any]]:
    """The winner against each other participant of the final stage, as `measure` compares."""
    latency = replace(job.options.objective, name="latency")
    others = [c for c in final.contenders if c.trial.number != final.winner.trial.number]
    rows = []
    for other in others:
        found = ratio(final.winner, other, latency, len(others), job.board.pairwise_error)
        if not math.isfinite(found.value):
            continue
        low, high, tie = found.low, found.high, False
        if job.board.provenance != "measured":  # one standard deviation tells ties, the interval is of 95 %
            tie = low <= 1.0 <= high
            _, low, high = modelled_ratio(found.value, job.board.pairwise_error, Z_95)
        rows.append({
            "a": final.winner.trial.name, "b": other.trial.name, "ratio_p50": found.value,
            "ci95": [low, high], "significant": high < 1 or low > 1, "tie": tie,
        })  # fmt: skip
    return rows


def _accuracy(job: Job, accuracy: Accuracy | None, verified_on: str | None) -> dict[str, Any]:
    if job.gate is None or accuracy is None:
        return {
            "status": "unverified", "basis": "none", "verified_on": None, "n": 0, "drop": None, "bound": None,
            "disagreement": None,
        }  # fmt: skip
    allowed = job.options.objective.max_drop.allowed(job.confirm_score or accuracy.score or 0.0)
    established = accuracy.bound is not None and accuracy.bound <= allowed
    return {
        "status": "established" if established else "not established",
        "basis": accuracy.basis,
        "verified_on": verified_on,
        "n": accuracy.n,
        "drop": accuracy.drop,
        "bound": accuracy.bound,
        "disagreement": accuracy.disagreement,
    }


def _write(job: Job, document: dict[str, Any], artifact: Artifact, context: ReportContext) -> None:
    folder = job.options.output
    best = folder / f"best{artifact.path.suffix}"
    write_atomically(best, artifact.path.read_bytes())
    for other in BEST_FILES:  # of an earlier run that ended on the other runtime
        if other != best.suffix:
            (folder / f"best{other}").unlink(missing_ok=True)
    kept = {SPLIT: job.inputs.split_indices(), DEPLOYMENT: deployment.keep(job, artifact)}
    evidence = Evidence(document | kept, context)
    write_atomically(folder / FILE_NAME, evidence.to_json().encode())
    write_report(folder / "report.html", document, job.store.trials, context)
