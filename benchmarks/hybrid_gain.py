"""What structure and policy together bring: samplers on simulated boards that decide on widths, too.

python -m benchmarks.hybrid_gain [--boards 6] [--seeds 2] [--trials 24] [--largest 24]
                                 [--ways hybrid ppo nas exact local] [-o runs.jsonl] [--show]

Every sampler begins with the same references (no structure is changed in them). The best known of a board is
the best true feasible candidate that any run measured. Goes on where it was stopped, if `-o` names a file;
`--show` prints the table of what is there.
"""

from __future__ import annotations

import os

os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")

import argparse
import json
import time
from pathlib import Path

import numpy as np

from benchmarks.policy_gain import search, table
from edgeopt.search.simulated import SimulatedBoard
from edgeopt.search.spaces import random_space

SEED = 2_000_003
WAYS = ("hybrid", "ppo", "nas", "exact", "local")


def main() -> None:
    """Run what is missing, then print the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--boards", type=int, default=6)
    parser.add_argument("--seeds", type=int, default=2)
    parser.add_argument("--trials", type=int, default=24)
    parser.add_argument("--largest", type=int, default=24, help="regions of a model, at most")
    parser.add_argument("--ways", nargs="*", default=list(WAYS))
    parser.add_argument("-o", "--output", type=Path)
    parser.add_argument("--show", action="store_true", help="run nothing")
    asked = parser.parse_args()
    runs = [json.loads(line) for path in [asked.output] if path and path.exists() for line in path.open()]
    done = {(r["board"], r["seed"], r["way"]) for r in runs}
    for seed in range(asked.seeds):
        for number in range(0 if asked.show else asked.boards):
            board = structured(number, asked.largest)
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
    table(runs, asked.ways)


def structured(number: int, largest: int) -> SimulatedBoard:
    """Board `number`, the first from `SEED` on whose space decides on at least three widths."""
    rng = np.random.default_rng([SEED, number])
    while True:
        board = SimulatedBoard(random_space(rng, largest, structured=True), rng)
        if len(board.layout.points_of("structure")) >= 3:
            return board


if __name__ == "__main__":
    main()
