"""What pre-training brings: measurements until a search is near the best known, on boards held out.

python -m benchmarks.policy_gain [--boards 8] [--seeds 2] [--trials 24] [--ways random tpe scratch FILE…]
                                 [--models FILE…] [-o runs.jsonl]

Simulated boards whose seeds were not trained on (and real models that were not, with `--models`). Every way
to search begins with the same references. The best known of a board is the best true feasible candidate that
any run measured; a run is there when it has measured one with 95 % of its log gain. Runs that never get there
count with all their trials + 1. Boards on which nothing beats the references are left out. Goes on where it
was stopped, if `-o` names a file.
"""

from __future__ import annotations

import os

os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")

import argparse
import json
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.pretrain_policy import space_of
from edgeopt.core import plugins
from edgeopt.core.space import SearchSpace
from edgeopt.core.trial import Trial
from edgeopt.search import initial
from edgeopt.search.pretraining import study
from edgeopt.search.samplers.ppo import Ppo
from edgeopt.search.simulated import SimulatedBoard
from edgeopt.search.spaces import random_space

HELD_OUT_SEED = 1_000_003
SHARE = 0.95
WORTH = 0.02
"""Log gain over the references below which there is nothing to be found on a board."""


def main() -> None:
    """Run what is missing, then print the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--boards", type=int, default=8)
    parser.add_argument("--seeds", type=int, default=2)
    parser.add_argument("--trials", type=int, default=24)
    parser.add_argument("--ways", nargs="*", default=["scratch", "pretrained", "random", "tpe"])
    parser.add_argument("--models", type=Path, nargs="*", default=[])
    parser.add_argument("-o", "--output", type=Path)
    parser.add_argument("--show", action="store_true", help="run nothing")
    asked = parser.parse_args()
    real = [space for path in asked.models if (space := space_of(path)) is not None]
    table(run_missing(asked, lambda number: held_out(number, real)), asked.ways)


def run_missing(asked: argparse.Namespace, board_of: Callable[[int], SimulatedBoard]) -> list[dict[str, Any]]:
    """All runs: those in the file that `asked` names, and those that it lacks."""
    runs = [json.loads(line) for path in [asked.output] if path and path.exists() for line in path.open()]
    done = {(r["board"], r["seed"], r["way"]) for r in runs}
    for seed in range(asked.seeds):
        for number in range(0 if asked.show else asked.boards):
            board = board_of(number)
            for way in asked.ways:
                if (number, seed, way) in done:
                    continue
                start = time.process_time()
                gains = search(board, way, seed, asked.trials)
                took = time.process_time() - start
                run = {"board": number, "regions": len(board.space.regions), "seed": seed, "way": way}
                runs.append(run | {"gains": gains, "cpu_s": took})
                if asked.output:
                    with asked.output.open("a") as stream:
                        stream.write(json.dumps(runs[-1]) + "\n")
    return runs


def held_out(number: int, real: list[SearchSpace]) -> SimulatedBoard:
    """Board `number`: of a real model, then of random spaces."""
    rng = np.random.default_rng([HELD_OUT_SEED, number])
    return SimulatedBoard(real[number] if number < len(real) else random_space(rng), rng)


def search(board: SimulatedBoard, way: str, seed: int, trials: int) -> list[float]:
    """True log gain of the best feasible candidate measured so far, after the references and each trial."""
    rng = np.random.default_rng([HELD_OUT_SEED, 1, seed])
    history = study(board, trials, rng, proposer(board, way, seed))
    codes = board.layout.encode([t.candidate for t in history])
    fine = np.array([t.state == "COMPLETE" for t in history]) & (board.drop(codes) <= board.allowed_drop)
    gains = np.maximum.accumulate(np.where(fine, board.gain(codes), 0.0))
    first = len(board.references())
    return [float(gain) for gain in gains[first - 1 :]]


def proposer(board: SimulatedBoard, way: str, seed: int) -> Callable[[int, list[Trial]], dict[str, str]]:
    """A policy's name or file makes the default sampler; any other name is that of a sampler."""
    known: list[Trial] = []
    if way not in plugins.names("samplers"):
        sampler = Ppo(board.context(known, seed, initial.load(way)))

        def propose(number: int, history: list[Trial]) -> dict[str, str]:
            known[:] = history
            return sampler.propose(number, [])

        return propose
    return _through_optuna(board, way, seed)


def _through_optuna(
    board: SimulatedBoard, way: str, seed: int
) -> Callable[[int, list[Trial]], dict[str, str]]:
    import optuna

    from edgeopt.study.outcome import outcome

    optuna.logging.set_verbosity(optuna.logging.ERROR)
    known: list[Trial] = []  # edgeopt's own samplers read the history, not Optuna's trials
    context = board.context(known, seed)
    running = optuna.create_study(sampler=plugins.load("samplers", way).create(context))
    distributions = {
        p.site: optuna.distributions.CategoricalDistribution(p.options) for p in board.space.points
    }
    asked: dict[int, int] = {}

    def propose(number: int, history: list[Trial]) -> dict[str, str]:
        known[:] = history
        for i in range(len(running.trials), len(history)):
            running.add_trial(
                optuna.trial.create_trial(
                    state=optuna.trial.TrialState.RUNNING,
                    params=dict(history[i].candidate.decisions),
                    distributions=dict(distributions),
                )
            )
            asked[i] = i
        for i in sorted(asked):
            state, value, constraint = outcome(history[i], context.objective, history[:i])
            if constraint is not None:
                trial_id = running.trials[i]._trial_id
                running._storage.set_trial_system_attr(trial_id, "constraints", [constraint])
            running.tell(i, value, state=state)
        asked.clear()
        trial = running.ask(dict(distributions))
        asked[trial.number] = number
        return {site: str(option) for site, option in trial.params.items()}

    return propose


def table(runs: list[dict], ways: list[str]) -> None:  # type: ignore[type-arg]
    """Per way: measurements to 95 %, share of runs that got there, gain after 10 trials and at the end."""
    boards = {r["board"] for r in runs}
    whole = {(b, r["seed"]) for b in boards for r in runs if r["board"] == b}
    paired = [k for k in sorted(whole) if all(_of(runs, *k, way) for way in ways)]
    best = {b: max(max(r["gains"]) for r in runs if r["board"] == b) for b in boards}
    start = {r["board"]: r["gains"][0] for r in runs}
    paired = [(b, s) for b, s in paired if best[b] > start[b] + WORTH]
    print(
        f"{len({b for b, _ in paired})} of {len(boards)} boards, {len(paired)} paired runs of each; the "
        f"references alone have {np.mean([start[b] / best[b] for b, _ in paired]):.0%} of the best gain"
    )
    counts: dict[str, list[int]] = {}
    for way in ways:
        chosen = [_of(runs, *key, way) for key in paired]
        counts[way] = [_needed(r["gains"], best[r["board"]]) for r in chosen if r]
        there = np.mean([n < len(r["gains"]) for n, r in zip(counts[way], chosen, strict=True) if r])
        shares = [np.array(r["gains"]) / best[r["board"]] for r in chosen if r]
        early, end = np.mean([share[5] for share in shares]), np.mean([share[-1] for share in shares])
        low, high = _interval(counts[way])
        print(
            f"  {way:12} {np.mean(counts[way]):5.1f} [{low:.1f} {high:.1f}] measurements to 95 %"
            f" ({there:.0%} of the runs get there), after 5 trials {early:.0%} of the best gain,"
            f" at the end {end:.0%}, {np.mean([r['cpu_s'] for r in chosen if r]):.0f} s of CPU"
        )
        if way != "scratch" and "scratch" in counts:
            print(f"{'':15}{np.mean(counts[way]) / np.mean(counts['scratch']):.2f} of scratch's")


def _of(runs: list[dict], board: int, seed: int, way: str) -> dict | None:  # type: ignore[type-arg]
    found = (r for r in runs if (r["board"], r["seed"], r["way"]) == (board, seed, way))
    return next(found, None)


def _needed(gains: list[float], best: float) -> int:
    there = [i for i, gain in enumerate(gains) if gain >= SHARE * best - 1e-12]
    return there[0] if there else len(gains)


def _interval(counts: list[int]) -> tuple[float, float]:
    """95 % bootstrap interval of the mean."""
    rng = np.random.default_rng(0)
    means = [np.mean(rng.choice(counts, len(counts))) for _ in range(2000)]
    return float(np.quantile(means, 0.025)), float(np.quantile(means, 0.975))


if __name__ == "__main__":
    main()
