"""The clock of a meter, laid on the board's by steps of load that the board makes itself.

Before and after the models the board is idle, busy, idle, busy and idle again, for lengths that do not
repeat (`BEFORE`, `AFTER`); the runner tells to the millisecond when. In the meter's samples the same steps
come later: by the lag of its program, of its USB line, of the other machine's clock. They also come smeared,
by what the meter averages over. Both are found by correlation with the pattern, for each of the two alone.

A lag that is the same before and after is taken off. What cannot be: steps that are not found (the meter of
another board, a recording that stands still, a lag of more than `MAX_LAG_S`), a lag that changes in between,
and a meter that averages over so long that one model's turn runs into the next.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from edgeopt.boards.meters import Sample

BEFORE = (2.2, 0.8, 0.5, 0.3, 0.7)
AFTER = (0.7, 0.3, 0.5, 0.8, 3.2)
"""Seconds of idle, load, idle, ... The long idle ends also tell what the board draws without a model, and the
last one leaves a lagging meter time to show the steps."""

MIN_LAG_S, MAX_LAG_S = -1.0, 2.0
"""Where a lag is looked for: below 0, too, for the clock of another machine is only known to a second."""
STEP_S = 0.01
BLURS_S = (0.0, 0.1, 0.2, 0.4, 0.8, 1.6)
LEAST_CORRELATION = 0.85
"""Of samples with the pattern: noise of a third of the step still passes; other loads of the board do not."""
LEAST_STEP = 0.05
"""Of the power when idle, that all cores busy must add."""
MAX_LAG_CHANGE_S = 0.12
MAX_BLUR_S = 0.4

Array = NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class Pattern:
    """Steps that the board made, on its clock.

    Attributes:
        loads: Begin and end of each time in which all cores were busy.
    """

    begun_s: float
    ended_s: float
    loads: tuple[tuple[float, float], ...]

    @classmethod
    def of(cls, answer: Mapping[str, Any]) -> Pattern:
        """From the runner's answer."""
        loads = tuple((float(begin), float(end)) for begin, end in answer["loads"])
        return cls(float(answer["begun_s"]), float(answer["ended_s"]), loads)

    def busy_s(self, until_s: Array) -> Array:
        """How long it was busy up to each moment."""
        total = np.zeros_like(until_s)
        for begin, end in self.loads:
            total += np.clip(until_s, begin, end) - begin
        return total


@dataclass(frozen=True, slots=True)
class Fit:
    """How a meter showed one pattern.

    Attributes:
        lag_s: How much later.
        blur_s: Over how long a time it averages.
        correlation: Of its samples with the pattern so moved and smeared.
        idle_w: Between the loads.
        step_w: What the loads added.
    """

    lag_s: float
    blur_s: float
    correlation: float
    idle_w: float
    step_w: float


@dataclass(frozen=True, slots=True)
class Alignment:
    """How a meter's clock lies on the board's.

    Attributes:
        lag_s: Of the meter, halfway.
        blur_s: The longer of both.
        refused: Why its samples cannot be told apart by model; None if they can.
    """

    lag_s: float
    blur_s: float
    refused: str | None = None


def align(samples: Sequence[Sample], before: Pattern, after: Pattern) -> Alignment:
    """Find both patterns in the samples."""
    times = np.array([sample.t_s for sample in samples])
    watts = np.array([sample.power_w for sample in samples])
    fits = []
    for pattern, when in ((before, "before"), (after, "after")):
        fit = find(times, watts, pattern)
        if fit is None or fit.correlation < LEAST_CORRELATION or fit.step_w < LEAST_STEP * abs(fit.idle_w):
            return Alignment(
                0.0,
                0.0,
                f"the meter does not show the load that the board made {when} its models: it lags by more "
                f"than {MAX_LAG_S:g} s, is slow, noisy or not this board's",
            )
        fits.append(fit)
    first, last = fits
    lag_s, blur_s = (first.lag_s + last.lag_s) / 2, max(first.blur_s, last.blur_s)
    refused = None
    if blur_s > MAX_BLUR_S:
        refused = f"the meter averages over about {blur_s:.1f} s: one model's turn runs into the next"
    elif abs(last.lag_s - first.lag_s) > MAX_LAG_CHANGE_S:
        refused = (
            f"the meter's lag changed from {first.lag_s:.2f} to {last.lag_s:.2f} s while it was measured"
        )
    return Alignment(lag_s, blur_s, refused)


def find(times: Array, watts: Array, pattern: Pattern) -> Fit | None:
    """The lag and the blur under which the pattern explains the samples best; None with too few of them."""
    coarse = np.arange(MIN_LAG_S, MAX_LAG_S + 1e-9, 5 * STEP_S)
    found = [_best(times, watts, pattern, coarse, blur_s) for blur_s in BLURS_S]
    best = max((fit for fit in found if fit), key=lambda fit: fit.correlation, default=None)
    if best is None:
        return None
    fine = np.array([best.lag_s + step * STEP_S for step in range(-5, 6)])
    return _best(times, watts, pattern, fine, best.blur_s) or best


def _best(times: Array, watts: Array, pattern: Pattern, lags: Array, blur_s: float) -> Fit | None:
    best: Fit | None = None
    enough = max(20.0, 0.6 * _expected(times, pattern))
    for lag_s in lags:
        first, last = np.searchsorted(times, (pattern.begun_s + lag_s, pattern.ended_s + lag_s))
        if last - first < enough:
            continue
        shown = watts[first:last]
        expected = _smeared(pattern, times[first:last] - lag_s, blur_s)
        level, mean = float(shown.mean()), float(expected.mean())
        a, b = expected - mean, shown - level
        aa, ab, bb = float(a @ a), float(a @ b), float(b @ b)
        if aa > 0 and bb > 0 and (best is None or ab / math.sqrt(aa * bb) > best.correlation):
            best = Fit(float(lag_s), blur_s, ab / math.sqrt(aa * bb), level - ab / aa * mean, ab / aa)
    return best


def _smeared(pattern: Pattern, at: Array, blur_s: float) -> Array:
    """The share of busy time in the last `blur_s` (at least a step) before each moment."""
    over_s = max(blur_s, STEP_S)
    return (pattern.busy_s(at) - pattern.busy_s(at - over_s)) / over_s


def _expected(times: Array, pattern: Pattern) -> float:
    """How many samples a pattern has at the meter's usual pace."""
    pace_s = float(np.median(np.diff(times))) if len(times) > 1 else 1.0
    return (pattern.ended_s - pattern.begun_s) / max(pace_s, 1e-4)
