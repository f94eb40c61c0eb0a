"""Trains one policy over many models and boards, so that a study need not begin from nothing.

Each round draws a search space and a simulated board, lets a study of random length happen on it, fits the
surrogate to that study, and trains the policy on episodes whose return is what the board *really* gains: the
agent sees what a surrogate would tell it, and learns how far to believe it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from edgeopt.core.space import SearchSpace
from edgeopt.core.trial import Trial
from edgeopt.search.agent import Agent, isolated
from edgeopt.search.layout import Codes
from edgeopt.search.neighbours import mutate
from edgeopt.search.simulated import SimulatedBoard
from edgeopt.search.spaces import random_space
from edgeopt.search.surrogate import Surrogate
from edgeopt.search.weights import Arrays

LONGEST = 30
"""Trials of a study, references aside."""
STEPS = 2048
"""Environment steps of training in a round; at least one rollout of whole episodes."""
REAL_SHARE = 0.3
"""Of the rounds that take the space of a real model, where there are any."""


@dataclass(frozen=True, slots=True)
class Round:
    """One round.

    Attributes:
        number: From 1.
        weights: After it.
        gain: Mean log gain, on the board, of what the policy draws after it, over that of the best trial.
    """

    number: int
    weights: Arrays
    gain: float


def pretrain(
    seed: int, done: int, weights: Arrays | None, real: Sequence[SearchSpace] = ()
) -> Iterator[Round]:
    """Rounds without end, from the one after `done`.

    Args:
        weights: After round `done`; None to begin.
        real: Search spaces of real models.
    """
    number = done
    while True:
        number += 1
        rng = np.random.default_rng([seed, number])
        board = draw_board(rng, real)
        history = study(board, int(rng.integers(0, LONGEST + 1)), rng)
        surrogate = Surrogate(board.layout, board.context(history, 0))
        with isolated(int(rng.integers(2**31))):
            agent = Agent(surrogate, int(rng.integers(2**31)), weights, board.gain)
            agent.learn(STEPS)
            weights = agent.weights()
            drawn = agent.sample(32)
        best = surrogate.incumbent()
        start = 0.0 if best is None else float(board.gain(best[0][None])[0])
        yield Round(number, weights, float(board.gain(drawn).mean()) - start)


def draw_board(rng: np.random.Generator, real: Sequence[SearchSpace] = ()) -> SimulatedBoard:
    """A board with a random space, or now and then that of a real model."""
    if real and rng.uniform() < REAL_SHARE:
        return SimulatedBoard(real[int(rng.integers(len(real)))], rng)
    return SimulatedBoard(random_space(rng), rng)


def study(
    board: SimulatedBoard,
    trials: int,
    rng: np.random.Generator,
    propose: Callable[[int, list[Trial]], dict[str, str]] | None = None,
) -> list[Trial]:
    """The references and `trials` candidates, measured on a simulated board.

    Args:
        propose: Number and history -> decisions; None tries variants of the best trial so far.
    """
    history: list[Trial] = []
    for candidate in board.references():
        history.append(board.trial(len(history), candidate, rng))
    for _ in range(trials):
        number = len(history)
        if propose is not None:
            candidate = board.space.candidate(propose(number, history))
        else:
            candidate = board.layout.decode(_variant(board, history, rng))
        history.append(board.trial(number, candidate, rng))
    return history


def _variant(board: SimulatedBoard, history: list[Trial], rng: np.random.Generator) -> Codes:
    fine = [t for t in history if t.state == "COMPLETE" and t.measurement is not None]
    best = sorted(fine, key=lambda t: t.measurement.p50_ms if t.measurement else np.inf)[:4]
    parents = board.layout.encode([t.candidate for t in best or history])
    return np.asarray(mutate(board.layout, parents, 1, rng)[0])
