"""What a proposal of the default sampler costs this machine, by regions and by trials known.

python -m benchmarks.thinking_time [--regions 50 200 1000] [--trials 50 500 5000] [--proposals 3]

CPU time of one thread, so that a busy machine does not change it. Every row ends with how the time grows
against the row's size: 1 is linear, 0 is constant.
"""

from __future__ import annotations

import os

os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")

import argparse
import cProfile
import pstats
import time
from pathlib import Path

import numpy as np

from edgeopt.core.artifact import Artifact
from edgeopt.core.measurement import Measurement
from edgeopt.core.objective import Objective
from edgeopt.core.quantity import Quantity
from edgeopt.core.trial import Trial
from edgeopt.search.context import SearchContext
from edgeopt.search.samplers._examples import chain
from edgeopt.search.samplers.ppo import Ppo

FIXED_REGIONS, FIXED_TRIALS = 50, 50


def main() -> None:
    """Print a table by regions and one by trials."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--regions", type=int, nargs="*", default=[50, 200, 1000])
    parser.add_argument("--trials", type=int, nargs="*", default=[50, 500, 5000])
    parser.add_argument("--proposals", type=int, default=3)
    parser.add_argument("--profile", action="store_true", help="where the time of each size goes")
    asked = parser.parse_args()
    thinking(5, 5, 1, profile=False)  # imports
    by_regions = [thinking(r, FIXED_TRIALS, asked.proposals, profile=asked.profile) for r in asked.regions]
    _table(f"regions ({FIXED_TRIALS} trials)", asked.regions, by_regions)
    by_trials = [thinking(FIXED_REGIONS, t, asked.proposals, profile=asked.profile) for t in asked.trials]
    _table(f"trials ({FIXED_REGIONS} regions)", asked.trials, by_trials)


def thinking(regions: int, trials: int, proposals: int, *, profile: bool) -> float:
    """Median CPU seconds of a proposal; not of the first, which reads the history for the first time."""
    space, rng = chain(regions), np.random.default_rng(0)
    history: list[Trial] = []
    context = SearchContext(space, Objective(), 0, None, lambda: history)

    def measure() -> None:
        number = len(history)
        chosen = {p.site: str(rng.choice(p.options)) for p in space.points}
        _know(history, space.candidate(chosen if number else {}), float(rng.uniform(4, 12)))

    for _ in range(trials):
        measure()
    sampler, seconds = Ppo(context), []
    for number in range(proposals + 1):
        profiler = cProfile.Profile()
        start = time.process_time()
        if profile and number == proposals:
            profiler.enable()
        proposed = sampler.propose(len(history), [])
        profiler.disable()
        seconds.append(time.process_time() - start)
        _know(history, space.candidate(proposed), float(rng.uniform(4, 12)))
    if profile:
        pstats.Stats(profiler).sort_stats("tottime").print_stats(14)
    return float(np.median(seconds[1:]))


def _know(history: list[Trial], candidate, ms: float) -> None:  # type: ignore[no-untyped-def]
    measurement = Measurement(latency=Quantity(ms, "ms", ms * 0.99, ms * 1.01, "measured", "clock"))
    artifact = Artifact(candidate.key, Path("/none"), candidate.key, 1)
    history.append(Trial(len(history), candidate, "COMPLETE", artifact=artifact, measurement=measurement))


def _table(what: str, sizes: list[int], seconds: list[float]) -> None:
    print(what)
    for i, (size, took) in enumerate(zip(sizes, seconds, strict=True)):
        grown = ""
        if i:
            power = np.log(took / seconds[i - 1]) / np.log(size / sizes[i - 1])
            grown = f", grows as size^{power:.2f}"
        print(f"  {size:>6}: {took:6.2f} s{grown}", flush=True)


if __name__ == "__main__":
    main()
