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
from pathlib import Path

import numpy as np

from benchmarks.policy_gain import run_missing, table
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
    table(run_missing(asked, lambda number: structured(number, asked.largest)), asked.ways)


def structured(number: int, largest: int) -> SimulatedBoard:
    """Board `number`, the first from `SEED` on whose space decides on at least three widths."""
    rng = np.random.default_rng([SEED, number])
    while True:
        board = SimulatedBoard(random_space(rng, largest, structured=True), rng)
        if len(board.layout.points_of("structure")) >= 3:
            return board


if __name__ == "__main__":
    main()
