"""`edgeopt study explain`: what each decision of a winner brings, measured where the budget allows.

A decision is turned back to the original's answer and the rest is left as it is: what the winner has over
that, is its share. Shares of decisions that depend on each other do not add up to the whole; what is missing
(or too much) is told as `together`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from edgeopt.core.candidate import ONNXRUNTIME, Candidate
from edgeopt.core.errors import StudyError
from edgeopt.core.measurement import Measurement
from edgeopt.core.progress import Observer
from edgeopt.core.space import SearchSpace
from edgeopt.core.trial import Trial
from edgeopt.optimize import kept
from edgeopt.optimize.ablating import Ablating
from edgeopt.optimize.ablation import Ablation, ablations
from edgeopt.optimize.job import open_job
from edgeopt.options import BoardOptions, ExplainOptions, OptimizeOptions
from edgeopt.report import shares
from edgeopt.report.context import FILE_NAME, read_evidence
from edgeopt.search.context import SearchContext
from edgeopt.search.effects import predicted
from edgeopt.study import front
from edgeopt.study import space as space_file
from edgeopt.study.ablations import Ablated, Ablations
from edgeopt.study.read import StoredStudy, read

INTERRUPTED = 130


@dataclass(frozen=True, slots=True)
class Explained:
    """The answer, and the exit code that it means."""

    document: dict[str, Any]
    exit_code: int = 0


def explain(options: ExplainOptions, observer: Observer) -> Explained:
    """Every decision of the study's winner with its share of the gain.

    Raises:
        StudyError: There is no study, it has no result yet, or its board or model changed since.
        BoardError: The board is gone; what was measured is kept, and the same command goes on.
    """
    study = read(options.folder)
    asked = kept.from_json(study.notes.get(kept.NOTE), study.folder)
    winner = _winner(study, asked)
    code = 0
    if options.budget is not None and winner.kind != "baseline":
        try:
            _measure(options, asked, study, winner, observer)
        except KeyboardInterrupt:
            code = INTERRUPTED  # what was measured until then is told
    return Explained(_document(options, asked, study, winner), code)


def _measure(
    options: ExplainOptions, asked: OptimizeOptions, study: StoredStudy, winner: Trial, observer: Observer
) -> None:
    assert options.budget is not None  # noqa: S101 - the caller has looked
    board = options.board or asked.board.board or study.identity.get("board")
    again = replace(asked, board=BoardOptions(asked.board.device, board, None, options.wait_s))
    try:
        with open_job(again, observer) as job:
            parts = ablations(job.space, winner.candidate, options.by)
            expected = _predicted(asked, study, job.space, winner, [part.candidate for part in parts])
            # What is expected to matter most first: a budget may end before the last.
            latencies = [e.effects["latency"].value if "latency" in e.effects else 0.0 for e in expected]
            order = sorted(range(len(parts)), key=lambda n: (-abs(latencies[n]), n))
            others = [job.space.default(), *(parts[n].candidate for n in order)]
            Ablating(job, winner, Ablations(study.folder)).measure(others, options.budget)
    except StudyError as error:
        raise StudyError(
            error.message, hint="explain without --measure needs neither the board nor the model"
        ) from error


def _document(
    options: ExplainOptions, asked: OptimizeOptions, study: StoredStudy, winner: Trial
) -> dict[str, Any]:
    space = space_file.load(study.folder)
    parts = ablations(space, winner.candidate, options.by)
    others = [space.default(), *(part.candidate for part in parts)]
    known = Ablations(study.folder)
    measured = [known.get(winner.candidate, other) for other in others]
    guessed = _predicted(asked, study, space, winner, others)
    # One that failed says so; one that was not measured is predicted. The whole is told as its parts are.
    found = [m or g for m, g in zip(measured, guessed, strict=True)]
    if not any(measured[1:]):
        found[0] = guessed[0]
    rows = [_row(part, one) for part, one in zip(parts, found[1:], strict=True)]
    return {
        "folder": str(study.folder),
        "board": study.identity.get("board"),
        "winner": winner.name or f"trial {winner.number}",
        "trial": winner.number,
        "decisions": shares.with_shares(rows, found[0].effects),
        "total": shares.total(found[0].effects),
        "together": shares.together(rows, found[0].effects),
        "ablated": sum(m is not None for m in measured[1:]),
    }


def _row(part: Ablation, one: Ablated) -> shares.Row:
    return shares.Row(part.name, part.sites, part.option, part.instead_of, one.effects, one.reason)


def _predicted(
    asked: OptimizeOptions,
    study: StoredStudy,
    space: SearchSpace,
    winner: Trial,
    others: Sequence[Candidate],
) -> list[Ablated]:
    original = next((t for t in study.trials if t.kind == "baseline"), None)
    score = original.accuracy.score if original and original.accuracy else None
    searched = space.runtimes or (ONNXRUNTIME,)
    context = SearchContext(
        space, asked.objective, asked.seed, None,
        history=lambda: [trial for trial in study.trials if trial.candidate.runtime in searched],
        original_score=lambda: score,
        region_ms=lambda: study.notes.get("region_ms") or {},
    )  # fmt: skip
    return [Ablated(effects) for effects in predicted(context, winner.candidate, others)]


def _winner(study: StoredStudy, asked: OptimizeOptions) -> Trial:
    """The one that the study ended with; of one under way, the best so far.

    Raises:
        StudyError: Nothing was measured that keeps every constraint.
    """
    if (study.folder / FILE_NAME).is_file():
        best = read_evidence(study.folder).document["best"]
        found = next((t for t in study.trials if t.number == best["trial"]), None)
        if found is not None and found.measurement is not None:
            return replace(found, measurement=_as_shown(found.measurement, best))
    else:
        found = front.best(study.trials, asked.objective)
    if found is None or found.measurement is None:
        raise StudyError(
            f"the study in {study.folder} has no result to explain yet", hint="let edgeopt optimize go on"
        )
    return found


def _as_shown(measurement: Measurement, best: Mapping[str, Any]) -> Measurement:
    """With the latency and the energy that the study ended with: of its final stage, not of the screening."""
    p50, (low, high) = best["latency_ms"]["p50"], best["latency_ms"]["ci95"]
    latency = replace(measurement.latency, value=p50, low=low, high=high)
    energy = measurement.energy_mj
    if energy is not None and best.get("energy_mj") is not None:
        low, high = best["energy_ci95"]
        energy = replace(energy, value=best["energy_mj"], low=low, high=high)
    return replace(measurement, latency=latency, energy_mj=energy)
