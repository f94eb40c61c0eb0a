"""`edgeopt bench search`: every sampler, every oracle, many seeds; runs that were made before are kept."""

from __future__ import annotations

import json
import multiprocessing
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from dataclasses import asdict, dataclass
from functools import cache
from pathlib import Path
from typing import Any

from edgeopt.bench.answers import Recorded, Way
from edgeopt.bench.oracle import SUFFIX, Oracle
from edgeopt.bench.replay import Run, code_digest, hypervolume, replay
from edgeopt.bench.scores import in_sum, scores
from edgeopt.core import plugins
from edgeopt.core.errors import ConfigError
from edgeopt.core.progress import Observer
from edgeopt.resources import resource

SHIPPED = "benchmarks/oracles"
UNFIT = frozenset({"bruteforce", "cmaes", "nsgaiii", "qmc"})
"""Left out unless they are named: no search, refused by any space here, or alike to one that is in."""


@dataclass(frozen=True, slots=True)
class SearchBench:
    """What to run.

    Attributes:
        oracles: Files.
        ways: How proposals are answered.
        samplers: By name.
        seeds: 0 to `seeds` - 1.
        budget: Measurements of each search.
        jobs: Processes.
        kept: File of the runs (JSON lines); None keeps none.
    """

    oracles: tuple[Path, ...]
    ways: tuple[Way, ...]
    samplers: tuple[str, ...]
    seeds: int
    budget: int
    jobs: int = 1
    kept: Path | None = None


Task = tuple[Path, Way, str, int, int]
"""Oracle, way, sampler, seed, budget."""


def default_samplers() -> tuple[str, ...]:
    """All that search."""
    return tuple(name for name in plugins.names("samplers") if name not in UNFIT)


def shipped() -> tuple[Path, ...]:
    """The oracles that come with edgeopt.

    Raises:
        ConfigError: There are none.
    """
    return tuple(sorted(resource(SHIPPED).glob(f"*{SUFFIX}")))


def search(bench: SearchBench, observer: Observer) -> dict[str, Any]:
    """Replay, and score.

    Raises:
        ConfigError: A file that is no oracle, two of the same model and board, or an unknown sampler.
        EdgeoptError: The disk is full.
    """
    oracles = {path: _recorded(path) for path in bench.oracles}
    _require_different(oracles)
    refused = {
        (path, name): why
        for path, recorded in oracles.items()
        for name in bench.samplers
        if (why := _refusal(recorded, name))
    }
    tasks: list[Task] = [
        (path, way, name, seed, bench.budget)
        for path in bench.oracles
        for way in bench.ways
        for name in bench.samplers
        if (path, name) not in refused
        for seed in range(bench.seeds)
    ]
    done = _kept(bench)
    missing = [task for task in tasks if _key(task) not in done]
    observer.stage("replay", len(missing))
    for task, run in _results(missing, bench.jobs):
        done[_key(task)] = run
        _keep(bench, task, run)
        observer.advance()
    runs = {task: done[_key(task)] for task in tasks}
    return {
        "samplers": list(bench.samplers),
        "seeds": bench.seeds,
        "budget": bench.budget,
        "oracles": [_about(path, recorded) for path, recorded in oracles.items()],
        "refused": [
            {"oracle": oracles[path].oracle.name, "sampler": name, "reason": why}
            for (path, name), why in refused.items()
        ],
        "ways": {way: _scored(bench, oracles, way, runs) for way in bench.ways},
    }


def _require_different(oracles: Mapping[Path, Recorded]) -> None:
    named: dict[str, Path] = {}
    for path, recorded in oracles.items():
        name = recorded.oracle.name
        if name in named:
            raise ConfigError(f"{named[name]} and {path} are both {name}", hint="name one of them")
        named[name] = path


def _scored(
    bench: SearchBench, oracles: dict[Path, Recorded], way: Way, runs: dict[Task, Run]
) -> dict[str, Any]:
    by_oracle: dict[str, dict[str, Any]] = {}
    for path, recorded in oracles.items():
        of_one = {task: run for task, run in runs.items() if task[0] == path and task[1] == way}
        if not of_one:
            continue
        oracle = recorded.oracle
        figures = [f for t in oracle.trials if (f := oracle.objective.of_trial(t)) is not None]
        # A fitted answer may be better than all that was recorded.
        best_known = min([*figures, *(run.best[-1] for run in of_one.values())])
        volume = max(
            [_full_volume(recorded), *(run.hypervolume[-1] for run in of_one.values() if run.hypervolume)]
        )
        by_oracle[oracle.name] = {
            name: scores(
                [run for task, run in of_one.items() if task[2] == name], best_known, volume, bench.budget
            )
            for name in bench.samplers
            if any(task[2] == name for task in of_one)
        }
    return {"by_oracle": by_oracle, "in_sum": in_sum(by_oracle, bench.budget)}


def _full_volume(recorded: Recorded) -> float:
    allowed, original = recorded.allowed, recorded.figure(recorded.oracle.trials[0])
    if not allowed or not original:
        return 0.0
    return hypervolume(
        [
            (figure / original, max(trial.accuracy.drop, 0.0) / allowed)
            for trial in recorded.oracle.trials
            if (figure := recorded.oracle.objective.of_trial(trial)) is not None
            and trial.accuracy is not None
            and trial.accuracy.drop is not None
        ]
    )


def _about(path: Path, recorded: Recorded) -> dict[str, Any]:
    oracle = recorded.oracle
    figures = [f for t in oracle.trials if (f := oracle.objective.of_trial(t)) is not None]
    given = [f for t in oracle.given if (f := oracle.objective.of_trial(t)) is not None]
    return {
        "name": oracle.name,
        "file": str(path.absolute()),
        "digest": oracle.digest,
        "about": dict(oracle.about),
        "counts": oracle.counts(),
        "decisions": len(oracle.space.points),
        "original": recorded.figure(oracle.trials[0]),
        "best_reference": min(given, default=None),
        "best_recorded": min(figures, default=None),
        "fitted": {
            "log_figure": asdict(recorded.log_figure.held_out),
            "drop": asdict(recorded.drop.held_out) if recorded.drop else None,
        },
    }


def _results(tasks: Sequence[Task], jobs: int) -> Iterator[tuple[Task, Run]]:
    if jobs == 1 or len(tasks) < 2:
        for task in tasks:
            yield task, _run(task)
        return
    # Spawned: a forked torch waits for threads that it does not have.
    with ProcessPoolExecutor(jobs, mp_context=multiprocessing.get_context("spawn")) as pool:
        futures = {pool.submit(_run, task): task for task in tasks}
        try:
            for future in as_completed(futures):
                yield futures[future], future.result()
        except BaseException:
            pool.shutdown(wait=False, cancel_futures=True)
            raise


def _run(task: Task) -> Run:
    path, way, sampler, seed, budget = task
    return replay(_recorded(path), way, sampler, seed, budget)


@cache
def _recorded(path: Path) -> Recorded:
    return Recorded(Oracle.load(path))


def _refusal(recorded: Recorded, sampler: str) -> str | None:
    from edgeopt.search.context import SearchContext

    oracle = recorded.oracle
    context = SearchContext(oracle.space, oracle.objective, 0, None, list)
    module = plugins.load("samplers", sampler)
    try:
        module.create(context)
    except ConfigError as error:
        return error.message
    return None


def _key(task: Task) -> tuple[str, Way, str, int, int]:
    path, way, sampler, seed, budget = task
    return _recorded(path).oracle.digest, way, sampler, seed, budget


def _kept(bench: SearchBench) -> dict[tuple[str, Way, str, int, int], Run]:
    """Runs of an earlier call that the same code made; a line that a crash tore is made again."""
    if bench.kept is None or not bench.kept.exists():
        return {}
    found = {}
    for text in bench.kept.read_text().splitlines():
        try:
            line = json.loads(text)
        except ValueError:
            continue
        if line["code"] == code_digest():
            run = Run.from_json(line["run"])
            found[run.oracle, run.way, run.sampler, run.seed, line["budget"]] = run
    return found


def _keep(bench: SearchBench, task: Task, run: Run) -> None:
    if bench.kept is None:
        return
    line = {"code": code_digest(), "budget": task[-1], "run": run.to_json()}
    with bench.kept.open("a", encoding="utf-8") as stream:
        stream.write(json.dumps(line, separators=(",", ":")) + "\n")
