"""Steps per second of the search environment alone, and seconds per proposal of the default sampler: both of
CPU time, so that a busy machine does not change them.

python benchmarks/env_speed.py [POINTS...]
"""

from __future__ import annotations

import os

os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")

import sys
import time
from pathlib import Path

import numpy as np

from edgeopt.core.artifact import Artifact
from edgeopt.core.measurement import Measurement
from edgeopt.core.objective import Objective
from edgeopt.core.quantity import Quantity
from edgeopt.core.trial import Trial
from edgeopt.search.context import SearchContext
from edgeopt.search.layout import Layout
from edgeopt.search.samplers._examples import chain
from edgeopt.search.samplers.ppo import Ppo
from edgeopt.search.surrogate import Surrogate
from edgeopt.search.walk import Walk

TRIALS, EPISODES, PROPOSALS = 20, 32, 5


def main() -> None:
    """Print one line per size of space."""
    for points in [int(text) for text in sys.argv[1:]] or [20, 60, 200]:
        space, rng = chain(points), np.random.default_rng(0)
        history: list[Trial] = []
        context = SearchContext(space, Objective(), 0, None, lambda history=history: history)
        for number in range(TRIALS):
            chosen = {p.site: str(rng.choice(p.options)) for p in space.points}
            candidate, ms = space.candidate(chosen if number else {}), float(rng.uniform(4, 12))
            measurement = Measurement(latency=Quantity(ms, "ms", ms * 0.99, ms * 1.01, "measured", "clock"))
            artifact = Artifact(candidate.key, Path("/none"), candidate.key, 1)
            history.append(Trial(number, candidate, "COMPLETE", artifact=artifact, measurement=measurement))
        steps = steps_per_second(Surrogate(Layout(space), context))
        sampler, seconds = Ppo(context), []
        for number in range(TRIALS, TRIALS + PROPOSALS + 1):
            start = time.process_time()
            sampler.propose(number, [])
            seconds.append(time.process_time() - start)
        print(
            f"{len(space.points)} decisions: {steps:,.0f} environment steps/s,"
            f" {np.median(seconds[1:]):.2f} s per proposal (the first, with its imports, {seconds[0]:.1f} s)"
        )


def steps_per_second(surrogate: Surrogate) -> float:
    """Of `EPISODES` episodes at once, masks and observations included."""
    walk = Walk(surrogate, EPISODES, np.random.default_rng(0))
    steps, start = 0, time.process_time()
    while time.process_time() - start < 2:
        walk.reset()
        done = False
        while not done:
            _, done = walk.step(walk.masks().argmax(axis=1))
            steps += EPISODES
            if not done:
                walk.observe()
    return steps / (time.process_time() - start)


if __name__ == "__main__":
    main()
