"""What the messages over the region graph bring the policy: the same training, with and without them.

python -m benchmarks.policy_messages [BOARDS] [SEED]

Every board is simulated; its surrogate has seen the references and 12 variants. Both policies train on that
surrogate alone; what they draw is judged by the surrogate's own prediction, their goal.
"""

from __future__ import annotations

import os

os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")

import sys
import time

import numpy as np

from edgeopt.search import view
from edgeopt.search.agent import Agent, isolated
from edgeopt.search.bayes import Floats
from edgeopt.search.layout import Layout
from edgeopt.search.outlook import Outlook, outlook
from edgeopt.search.pretraining import draw_board, study
from edgeopt.search.surrogate import Surrogate

TRIALS, DRAWN = 12, 64


def main() -> None:
    boards, seed = [*(int(text) for text in sys.argv[1:]), *(12, 100)[len(sys.argv) - 1 :]]
    print("board  regions  | mean predicted gain (log): without, with | best drawn: without, with")
    rows = []
    for number in range(boards):
        rng = np.random.default_rng([seed, number])
        board = draw_board(rng)
        surrogate = Surrogate(board.layout, board.context(study(board, TRIALS, rng), 0))
        results = []
        for messages in (without, outlook):
            view.outlook = messages
            start = time.process_time()
            with isolated(number):
                agent = Agent(surrogate, number, None)
                agent.train()
                gains = -surrogate.predict(agent.sample(DRAWN))[0]
            results.append((gains.mean(), gains.max(), time.process_time() - start))
        (mean0, best0, s0), (mean1, best1, s1) = results
        rows.append((mean0, mean1, best0, best1, s0, s1))
        regions = len(board.space.regions)
        print(f"{number:5} {regions:8}  | {mean0:.3f} {mean1:.3f} | {best0:.3f} {best1:.3f}", flush=True)
    means = np.mean(rows, axis=0)
    better = [np.mean([row[i + 1] > row[i] for row in rows]) for i in (0, 2)]
    print(
        f"mean: {means[0]:.3f} without, {means[1]:.3f} with (better on {better[0]:.0%}); best drawn "
        f"{means[2]:.3f} and {means[3]:.3f} (better on {better[1]:.0%}); "
        f"CPU {means[4]:.2f} and {means[5]:.2f} s"
    )


def without(_layout: Layout, prices: Floats, *_others: object) -> Outlook:
    """No messages."""
    return Outlook(np.zeros_like(prices), 0.0)


if __name__ == "__main__":
    main()
