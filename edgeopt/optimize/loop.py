"""Baseline, references, search: trials from first to last, each on disk before the next begins."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from edgeopt.core.artifact import Artifact
from edgeopt.core.candidate import ONNXRUNTIME, Candidate
from edgeopt.core.errors import BoardError, CandidateFailed, ConfigError, MeasurementInvalid, ModelError
from edgeopt.core.measurement import Measurement
from edgeopt.core.trial import Kind, Trial
from edgeopt.evaluate import Prepared
from edgeopt.graph.attribution import attribute
from edgeopt.graph.references import references
from edgeopt.optimize.clock import BudgetClock, is_measured
from edgeopt.optimize.interface import starts
from edgeopt.optimize.job import Job
from edgeopt.optimize.patience import patiently
from edgeopt.optimize.pipeline import Pipeline, Work
from edgeopt.search.context import exhausted

PROFILE_RUNS = 20
ONCE_S = "once_s"
"""Note of the study: what measuring the original took, which tells what emulating a candidate takes."""


def run_baseline(job: Job) -> Trial:
    """Trial 0: the original on the runtime's defaults, the control of everything after it.

    Raises:
        ModelError: The board's runtime cannot run the original.
    """
    evaluator = job.evaluator
    prepared = evaluator.prepare(job.space.default())
    if prepared.artifact is None:
        raise ModelError(f"the original model cannot be run: {prepared.failed}")
    evaluator.original_score = prepared.accuracy.score if prepared.accuracy else None
    job.board.compare_with(prepared.artifact, evaluator.feeds)
    before_s = job.device_seconds
    trial = _known(job, "baseline") or _measured(job, prepared, "baseline", "original")
    if trial.measurement is not None and job.device_seconds > before_s:
        job.store.note(ONCE_S, job.device_seconds - before_s)
    if trial.measurement is None:
        raise BoardError(f"the original model fails on {job.board.name}: {trial.reason}")
    _check_tellable(job, trial.measurement, prepared.artifact)
    evaluator.control, evaluator.original = prepared.artifact, trial
    evaluator.control_p50_ms = trial.measurement.p50_ms
    return trial


def _check_tellable(job: Job, measurement: Measurement, artifact: Artifact) -> None:
    """Refuse an objective or a limit on a figure that this board does not give."""
    objective = job.options.objective
    power_w = measurement.power_w.value if measurement.power_w else None
    asked: list[tuple[str, float | None, float | None]] = [
        (f"--objective {objective.name}", 0.0, objective.value(measurement, artifact)),
        ("--max-p95", objective.limits.max_p95_ms, measurement.p95_ms),
        ("--max-cold-start", objective.limits.max_cold_start_ms, measurement.cold_start_ms),
        ("--max-memory", objective.limits.max_memory_bytes, measurement.peak_rss_bytes),
        ("--max-power", objective.limits.max_power_w, power_w),
        ("--min-utilization", objective.limits.min_utilization, measurement.roofline_fraction),
    ]
    for flag, wanted, figure in asked:
        if wanted is not None and figure is None:
            raise BoardError(
                f"{flag}: {job.board.name} cannot tell that, its figures are {job.board.provenance}",
                hint="ask for latency or size, or use a board that measures it",
            )


def run_references(job: Job) -> None:
    """The well-known recipes, measured whatever their accuracy: they tell what each precision costs here."""
    recipes = references(job.space, job.board.facts.cores, small=job.is_small_wanted)
    job.observer.stage("references", len(recipes))
    for name, candidate in recipes:
        trial = _known(job, "reference", name) or _measured(
            job, _allowed(job, job.evaluator.prepare(candidate, full=True)), "reference", name
        )
        _profile(job, name, trial)
        job.observer.advance()
    if baseline := _known(job, "baseline"):  # where there is no rewrite, nothing else tells of float32
        _profile(job, "original", baseline)


def _allowed(job: Job, prepared: Prepared) -> Prepared:
    """A reference of a runtime that was not asked for tells what it would bring, and cannot be the result."""
    runtime = prepared.candidate.runtime
    if runtime in job.runtimes:
        return prepared
    return replace(prepared, infeasible=f"it runs on {runtime}, and --runtime {job.options.runtime} does not")


def run_given(job: Job, given: Sequence[Trial]) -> None:
    """Measure candidates that another study chose, under the kind and the name that they have there."""
    job.observer.stage("confirm", len(given))
    for trial in given:
        try:
            job.space.validate(trial.candidate)
        except ConfigError as error:
            job.observer.announce(f"{trial.name} cannot be made for {job.board.name}: {error.message}")
            continue
        if not any(done.candidate == trial.candidate for done in job.store.trials):
            prepared = job.evaluator.prepare(trial.candidate, full=trial.kind == "reference")
            _measured(job, _allowed(job, prepared), trial.kind, trial.name)
        job.observer.advance()


def run_candidate(job: Job, candidate: Candidate, name: str) -> Trial:
    """Evaluate one candidate that somebody names; what the study knows of it already stands."""
    return _measured(job, job.evaluator.prepare(candidate), "candidate", name)


def run_search(job: Job, clock: BudgetClock) -> None:
    """Ask, build, gate, measure, tell, until the budget is spent or the space is exhausted.

    While a remote board measures one candidate the host proposes and builds the next, which therefore does
    not know of that one's result yet.
    """
    job.observer.stage("search", clock.budget.trials)
    ahead = job.board.provenance == "measured" and not job.board.is_this_machine
    under_way: Candidate | None = None
    with Pipeline(ahead, job.give_up) as pipeline:
        while True:
            trials = job.store.trials
            is_over = clock.is_over(trials, int(pipeline.is_busy)) or exhausted(job.space, trials)
            if is_over and not pipeline.is_busy:
                return
            following = None if is_over else _propose(job, under_way)
            if pipeline.is_busy:
                _told(job, clock, pipeline.result())
            under_way = None if following is None else following[1].candidate
            if following is not None:
                pipeline.start(_work(job, *following))
                if not ahead:
                    _told(job, clock, pipeline.result())


def _propose(job: Job, under_way: Candidate | None) -> tuple[int, Prepared]:
    """The next candidate, built: where inputs may change, what that is worth first."""
    allowed = job.options.allow_interface
    starting = starts(job.space, job.options.objective, job.store.trials, allowed) if allowed else ()
    given = next((candidate for candidate in starting if candidate != under_way), None)
    if given is None:
        number, candidate = job.store.ask()
        return number, job.evaluator.prepare(candidate)
    return job.store.ask_candidate(given, "candidate", ""), job.evaluator.prepare(given)


def _work(job: Job, number: int, prepared: Prepared) -> Work:
    """What is left to do; the board is needed only where nothing equal was measured before."""
    if replayed := _replay(job, number, prepared, "candidate", ""):
        return lambda: replayed
    return lambda: _on_board(job, number, prepared, "candidate", "")


def _told(job: Job, clock: BudgetClock, trial: Trial) -> None:
    _tell(job, trial)
    if is_measured(trial):
        job.observer.advance()
    job.store.note("search_seconds", clock.elapsed_s)
    job.observer.budget(*clock.left(job.store.trials))


def _known(job: Job, kind: Kind, name: str | None = None) -> Trial | None:
    """A trial of an earlier run of this study."""
    done = (t for t in job.store.trials if t.kind == kind and (name is None or t.name == name))
    return next(done, None)


def _measured(job: Job, prepared: Prepared, kind: Kind, name: str) -> Trial:
    number = job.store.ask_candidate(prepared.candidate, kind, name)
    return job.store.get(number) or _evaluate(job, number, prepared, kind, name)


def _evaluate(job: Job, number: int, prepared: Prepared, kind: Kind, name: str) -> Trial:
    """One trial, replayed from an equal artifact where there is one, and told to the study."""
    trial = _replay(job, number, prepared, kind, name) or _on_board(job, number, prepared, kind, name)
    _tell(job, trial)
    return trial


def _on_board(job: Job, number: int, prepared: Prepared, kind: Kind, name: str) -> Trial:
    return patiently(job, lambda: job.evaluator.trial(number, prepared, job.screening, kind, name))


def _tell(job: Job, trial: Trial) -> None:
    job.store.tell(trial, _identity(job, trial))
    job.observer.trial(trial)
    best = job.store.best(job.options.objective)
    if best is not None and best.number == trial.number:
        job.observer.best(trial)


def _replay(job: Job, number: int, prepared: Prepared, kind: Kind, name: str) -> Trial | None:
    """What was measured once is never measured again: other decisions may give the same bytes."""
    if prepared.artifact is None or prepared.infeasible is not None or prepared.failed is not None:
        return None
    seen = job.store.seen(job.evaluator.identity(prepared.artifact, job.screening))
    if seen is None:
        return None
    return replace(
        seen, number=number, candidate=prepared.candidate, kind=kind,
        name=name or f"candidate-{number}", replay_of=seen.number, artifact=prepared.artifact,
    )  # fmt: skip


def _identity(job: Job, trial: Trial) -> str | None:
    """What was measured: what a later trial may replay."""
    if trial.artifact is None or trial.measurement is None:
        return None
    return job.evaluator.identity(trial.artifact, job.screening)


def _profile(job: Job, name: str, trial: Trial) -> None:
    """Per-region times of a uniform recipe, for the surrogate; once per study."""
    option = _uniform_precision(job, trial.candidate)
    times = dict(job.store.notes.get("region_ms") or {})
    if option is None or option in times or trial.artifact is None or trial.measurement is None:
        return
    try:
        artifact = job.evaluator.builder.build_named(trial.candidate)
        node_ms = patiently(job, lambda: job.board.profile(artifact, job.evaluator.feeds, PROFILE_RUNS))
    except (CandidateFailed, MeasurementInvalid) as error:
        job.observer.announce(f"{name} cannot be profiled: {error.message}")
        return
    regions, _ = attribute(node_ms, artifact.path, job.space.regions)
    job.store.note("region_ms", times | {option: regions})


def _uniform_precision(job: Job, candidate: Candidate) -> str | None:
    """The one precision of a whole-model recipe that changes no runtime setting; None for any other, and for
    LiteRT, which does not tell the times of single operators."""
    changes = candidate.changes(job.space.default())
    if candidate.runtime != ONNXRUNTIME or any(site.startswith("runtime:") for site in changes):
        return None
    used = set(candidate.of_family("precision").values())
    used = used - {"float32"} or {"float32"}
    return next(iter(used)) if len(used) == 1 else None
