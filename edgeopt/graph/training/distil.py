"""Trains a changed model to answer as the original does, on inputs without labels.

Adam with a cosine schedule over a number of steps that is fixed beforehand: the largest of `LADDER` whose
time, told by a few steps that are thrown away, fits the budget. So the weights follow from the samples, the
seed and that number, unless a machine gets so much slower that the clock ends it first, which is told. Each
weight moves in proportion to its own size. A part of the samples is held out; the best weights there are the
result, and training ends early where they do not get better any more. If they are never better than at the
start, there is no result.

Source: Hinton, Vinyals & Dean 2015 (arXiv:1503.02531); Kingma & Ba 2015 (arXiv:1412.6980); Loshchilov &
Hutter 2017 (arXiv:1608.03983), equation 5 without restarts; You, Gitman & Ginsburg 2017 (arXiv:1708.03888),
section 4, for steps in proportion to weights.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Literal

import numpy as np
import onnx_ir as ir
import torch
from numpy.typing import NDArray
from torch import Tensor

from edgeopt.graph.training.losses import Loss, targets, total
from edgeopt.graph.training.operators import Untrainable
from edgeopt.graph.training.program import Program
from edgeopt.graph.training.samples import Lessons

LADDER = (32, 64, 125, 250, 500, 1000, 2000, 4000)
"""Numbers of steps: coarse, so that a small difference of speed does not change the result."""
BATCH = 32
RATE = 0.01
"""Of the root mean square of a weight, in the first steps after the warm-up."""
LEAST_SIZE = 0.02
"""Of a weight, for its step: zeros shall move, too."""
WARM_UP = 0.05
LOOKS, LEAST_STEPS = 25, 10
"""How often a schedule looks at the held-out part, and the fewest steps from one look to the next."""
PATIENCE = 8
"""Looks without a better result that end it."""
REHEARSED = 3
CHECKED = 4
"""Samples on which torch and onnxruntime are compared before anything is trained."""

Clock = Callable[[], float]


@dataclass(frozen=True, slots=True)
class Distilled:
    """What came of it.

    Attributes:
        weights: By initializer; empty where training made nothing better.
        loss_before: On the held-out samples, see `losses`.
        loss_after: Of the best weights; `loss_before` where there are none.
        steps: That were made.
        planned: That the schedule had.
        ended: `schedule`, `patience` or `budget`: what ended it.
        seconds: That it took, all in all.
        samples: It was trained on.
        held_out: Samples that judged it.
    """

    weights: Mapping[str, NDArray[np.float32]]
    loss_before: float
    loss_after: float
    steps: int
    planned: int
    ended: Literal["schedule", "patience", "budget"]
    seconds: float
    samples: int
    held_out: int


def distil(
    original: ir.Graph,
    changed: ir.Model,
    taught: Lessons,
    *,
    end_s: float,
    seed: int,
    has_classes: bool,
    expected: Callable[[Mapping[str, NDArray[np.generic]]], Sequence[NDArray[np.generic]]],
    clock: Clock = time.monotonic,
) -> Distilled:
    """Train a changed model.

    Args:
        original: Whose answers are in `taught`.
        changed: Of the same inputs and outputs; left as it is.
        taught: Samples and answers.
        end_s: Of the clock, when it has to end.
        seed: Of the order of samples.
        has_classes: Whether output 0 holds scores of classes.
        expected: Inference by the changed model, of one sample, in the runtime.
        clock: Seconds.

    Raises:
        Untrainable: torch cannot train it; the message says why.
        CandidateFailed: It cannot compute a sample.
    """
    begun = clock()
    with isolated():
        program = Program(changed.graph, changed.graph.opset_imports.get("", 1))
        if not program.weights:
            raise Untrainable("it has no weights of float32")
        _check(program, taught, expected)
        trainer = _Trainer(program, taught, total(targets(original, taught.answers, has_classes=has_classes)))
        steps, ended, planned = trainer.run(end_s, seed, clock)
    return Distilled(
        weights=trainer.best, loss_before=trainer.first, loss_after=trainer.least, steps=steps,
        planned=planned, ended=ended, seconds=clock() - begun,
        samples=len(taught.taught), held_out=len(taught.held_out),
    )  # fmt: skip


@contextmanager
def isolated() -> Iterator[None]:
    """Leave torch's threads and modes as they were. No random number of torch's is used."""
    threads, deterministic = torch.get_num_threads(), torch.are_deterministic_algorithms_enabled()
    warns = torch.is_deterministic_algorithms_warn_only_enabled()
    torch.use_deterministic_algorithms(True)
    try:
        with torch.enable_grad():
            yield
    finally:
        torch.set_num_threads(threads)
        torch.use_deterministic_algorithms(deterministic, warn_only=warns)


def _check(
    program: Program,
    taught: Lessons,
    expected: Callable[[Mapping[str, NDArray[np.generic]]], Sequence[NDArray[np.generic]]],
) -> None:
    some = range(min(CHECKED, len(taught.taught)))
    answers = [expected({name: array[i] for name, array in taught.feeds.items()}) for i in some]
    stacked = {name: np.stack([one[i] for one in answers]) for i, name in enumerate(program.outputs)}
    program.check({name: array[list(some)] for name, array in taught.feeds.items()}, stacked)


class _Trainer:
    """The state of one training."""

    def __init__(self, program: Program, taught: Lessons, loss: Loss) -> None:
        self._program, self._taught, self._loss = program, taught, loss
        self._feeds = {name: torch.from_numpy(array) for name, array in taught.feeds.items()}
        self._answers = {name: torch.from_numpy(array) for name, array in taught.answers.items()}
        self.first = self.least = math.inf
        self.best: dict[str, NDArray[np.float32]] = {}

    def run(
        self, end_s: float, seed: int, clock: Clock
    ) -> tuple[int, Literal["schedule", "patience", "budget"], int]:
        """Train; steps that were made, what ended it, steps that were planned."""
        self.first = self.least = self._held_out(self._program.weights)
        if not math.isfinite(self.first):
            raise Untrainable("its answers are not finite")
        planned = self._planned(end_s, clock)
        if not planned:
            return 0, "budget", 0
        weights, optimizer, schedule = self._begun(planned)
        look, last_better = max(LEAST_STEPS, planned // LOOKS), 0
        for step, batch in zip(range(1, planned + 1), self._batches(seed), strict=False):
            self._step(weights, optimizer, batch)
            schedule.step()
            if step % look == 0 or step == planned:
                if self._keep(weights):
                    last_better = step
                elif step - last_better >= PATIENCE * look:
                    return step, "patience", planned
            if clock() >= end_s:
                return step, "budget", planned
        return planned, "schedule", planned

    def _planned(self, end_s: float, clock: Clock) -> int:
        """The largest number of steps that fits, from steps on a copy; 0 if not even the smallest does."""
        weights, optimizer, _ = self._begun(1)
        batches, begun = self._batches(0), 0.0
        for number in range(1 + REHEARSED):
            begun = begun if number > 1 else clock()  # the first step warms up
            self._step(weights, optimizer, next(batches))
        step_s = (clock() - begun) / REHEARSED
        begun = clock()
        self._held_out(weights)
        look_s = (clock() - begun) / LEAST_STEPS
        left_s = end_s - clock()
        return max((steps for steps in LADDER if steps * (step_s + look_s) <= left_s), default=0)

    def _begun(
        self, planned: int
    ) -> tuple[dict[str, Tensor], torch.optim.Optimizer, torch.optim.lr_scheduler.LRScheduler]:
        weights = {n: w.detach().clone().requires_grad_() for n, w in self._program.weights.items()}
        groups = [
            {"params": [w], "lr": RATE * max(LEAST_SIZE, float(w.detach().square().mean().sqrt()))}
            for w in weights.values()
        ]
        optimizer = torch.optim.Adam(groups, foreach=False)
        warm = max(1, round(WARM_UP * planned))

        def share(step: int) -> float:
            return min(1.0, (step + 1) / warm) * 0.5 * (1 + math.cos(math.pi * step / planned))

        return weights, optimizer, torch.optim.lr_scheduler.LambdaLR(optimizer, share)

    def _batches(self, seed: int) -> Iterator[NDArray[np.int64]]:
        """Samples in another order each time round, for ever."""
        rng, size = np.random.default_rng(seed), min(BATCH, len(self._taught.taught))
        while True:
            order = rng.permutation(self._taught.taught)
            for start in range(0, len(order) - size + 1, size):
                yield order[start : start + size]

    def _step(
        self, weights: Mapping[str, Tensor], optimizer: torch.optim.Optimizer, batch: NDArray[np.int64]
    ) -> None:
        optimizer.zero_grad(set_to_none=True)
        loss = self._of(weights, batch)
        loss.backward()  # type: ignore[no-untyped-call]
        optimizer.step()

    def _of(self, weights: Mapping[str, Tensor], batch: NDArray[np.int64]) -> Tensor:
        rows = torch.from_numpy(batch)
        names = list(self._answers)
        found = self._program.batch(weights, {n: a[rows] for n, a in self._feeds.items()}, names)
        expected = {name: array[rows] for name, array in self._answers.items()}
        return self._loss(dict(zip(names, found, strict=True)), expected)

    def _held_out(self, weights: Mapping[str, Tensor]) -> float:
        chosen, total_loss = self._taught.held_out, 0.0
        with torch.no_grad():
            for start in range(0, len(chosen), BATCH):
                batch = chosen[start : start + BATCH]
                total_loss += len(batch) * float(self._of(weights, batch))
        return total_loss / len(chosen)

    def _keep(self, weights: Mapping[str, Tensor]) -> bool:
        """Keep the weights if they are the best so far."""
        loss = self._held_out(weights)
        if not loss < self.least:  # nor if it is no number
            return False
        self.least, self.best = loss, {n: w.detach().numpy().copy() for n, w in weights.items()}
        return True
