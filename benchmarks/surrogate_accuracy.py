"""How well the surrogate predicts mixed-precision candidates that it has not seen.

python -m benchmarks.surrogate_accuracy [--boards 12] [--seen 6 12 24] [--seed 7]

Simulated boards (`edgeopt.search.simulated`), whose truth differs from the surrogate's prior. Seen: the
references and so many random mixes; unseen: 200 more. Prints the rank correlation with and without boundary
costs, how many of the unseen lie in the 90 % interval with and without the recalibration, the median error,
and CPU milliseconds per predicted candidate.
"""

from __future__ import annotations

import os

os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")

import argparse
import time

import numpy as np
from scipy.stats import spearmanr

from edgeopt.search.figure import FigureModel
from edgeopt.search.layout import FAMILIES, Codes, Layout
from edgeopt.search.pretraining import draw_board

UNSEEN, WITHIN_90 = 200, 1.645


def main() -> None:
    """Print a row per number of measured candidates, and the mean of the boards."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--boards", type=int, default=12)
    parser.add_argument("--seen", type=int, nargs="*", default=[6, 12, 24])
    parser.add_argument("--seed", type=int, default=7)
    asked = parser.parse_args()
    print(
        "seen  rank corr. [quartiles]  without boundaries  90 % covers  uncalibrated  "
        "median error  ms/candidate"
    )
    for seen in asked.seen:
        rows = [_row(np.random.default_rng([asked.seed, number]), seen) for number in range(asked.boards)]
        ranks, additive, covered, plain, error, ms = np.array(rows).T
        low, high = np.quantile(ranks, [0.25, 0.75])
        print(
            f"{seen:4}  {np.mean(ranks):.3f} [{low:.3f} {high:.3f}]      {np.mean(additive):.3f}"
            f"               {np.mean(covered):.1%}        {np.mean(plain):.1%}         "
            f"{np.median(error):.1%}          {np.mean(ms):.3f}",
            flush=True,
        )


def _row(rng: np.random.Generator, seen: int) -> tuple[float, ...]:
    board = draw_board(rng)
    layout = board.layout
    codes = layout.encode(board.references())
    codes = np.concatenate([codes, mixes(layout, seen, rng)])
    unseen = mixes(layout, UNSEEN, rng)
    noise = board.truth.noise
    measured = board.figure_ms(codes) * np.exp(rng.normal(0, noise, len(codes)))
    logs = np.log(board.figure_ms(unseen) * np.exp(rng.normal(0, noise, UNSEEN)))
    ranks = []
    for boundaries in (False, True):
        model = FigureModel(layout, "latency", board.region_ms, boundaries)
        model.fit(codes, measured, np.full(len(codes), noise))
        start = time.process_time()
        mean, deviation = model.predict(unseen)
        ms = 1000 * (time.process_time() - start) / UNSEEN
        ranks.append(float(spearmanr(mean, logs).statistic))
    off = np.abs(logs - model.reference - mean)
    spread = [np.sqrt((factor * deviation) ** 2 + noise**2) for factor in (1.0, 1 / model.calibration)]
    covered = [float(np.mean(off <= WITHIN_90 * s)) for s in spread]
    return ranks[1], ranks[0], covered[0], covered[1], float(np.median(np.expm1(off))), ms


def mixes(layout: Layout, count: int, rng: np.random.Generator) -> Codes:
    """Candidates with runs of one precision of random length and share; runtime settings mostly default."""
    rows = np.tile(layout.default, (count, 1))
    precision = np.flatnonzero(layout.family == FAMILIES.index("precision"))
    for row in rows:
        share, stay, last = rng.uniform(), rng.choice([0.0, 0.5, 0.8]), ""
        for p in precision:
            options = layout.space.points[p].options
            if rng.uniform() > stay:
                last = str(rng.choice(options[1:])) if rng.uniform() < share else options[0]
            row[p] = options.index(last) if last in options else 0
        for p in np.flatnonzero(layout.family != FAMILIES.index("precision")):
            if rng.uniform() < 0.3:
                row[p] = rng.integers(layout.options[p])
    return rows


if __name__ == "__main__":
    main()
