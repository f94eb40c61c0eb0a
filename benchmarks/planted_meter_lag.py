"""Is a meter that lags, smears or drifts found out, and is a good one left alone?

    python benchmarks/planted_meter_lag.py [TRIALS]

Each trial makes up a board whose two models take turns, with the steps of load that the runner makes, and
a meter that shows it with noise at its own pace. Clean meters, on the board or with the clock of another
machine, must get the energy right within its own error bar and cause no remark. Of the planted ones each must
be found out: a lag is told and taken off, or refused, and what cannot be put right is refused. Everything is
drawn from the seed; the code that judges is the one that judges a real meter, from the samples on.
"""

from __future__ import annotations

import sys
from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from edgeopt.boards.metering import edges, energy
from edgeopt.boards.meters import Sample
from edgeopt.core.measurement import Measurement
from edgeopt.core.quantity import Quantity

PACES_S = (0.02, 0.04, 0.05, 0.08)
FINE_S = 0.001


@dataclass(frozen=True)
class Board:
    """What really happened: power over time on the board's clock, and who had which turns."""

    times: np.ndarray
    watts: np.ndarray
    before: edges.Pattern
    after: edges.Pattern
    models: tuple[Mapping[str, Any], ...]
    true_mj: tuple[float, ...]


@dataclass(frozen=True)
class Trial:
    """What came of one: the plant, what was said of it, and whether that is right."""

    plant: str
    said: str
    right: bool


def board(random: np.random.Generator) -> Board:
    """Idle, steps, two models in turns of a second, steps, idle."""
    idle, step = random.uniform(1.0, 4.0), random.uniform(1.0, 6.0)
    powers = idle + step * random.uniform(0.3, 1.1, 2)
    at, parts, loads = 0.0, [(0.4, idle * 1.05)], {}
    at = 0.4
    spans: list[list[tuple[float, float]]] = [[], []]

    def pattern(name: str, seconds: tuple[float, ...]) -> edges.Pattern:
        nonlocal at
        begun, busy = at, []
        for index, length in enumerate(seconds):
            parts.append((length, idle + step if index % 2 else idle))
            if index % 2:
                busy.append((at, at + length))
            at += length
        loads[name] = busy
        return edges.Pattern(begun, at, tuple(busy))

    before = pattern("before", edges.BEFORE)
    turn_s = random.choice((1.0, 2.0))
    for _ in range(int(np.ceil(11.0 / turn_s))):
        for model in (0, 1):
            gap_s = random.uniform(0.002, 0.05)
            parts += [(gap_s, idle * 1.1), (turn_s, powers[model])]
            spans[model].append((at + gap_s, at + gap_s + turn_s))
            at += gap_s + turn_s
    after = pattern("after", edges.AFTER)
    parts.append((0.05, idle))
    watts = np.concatenate([np.full(round(length / FINE_S), power) for length, power in parts])
    times = np.arange(len(watts)) * FINE_S
    per_turn = [int(random.integers(20, 400)) for _ in (0, 1)]
    models = tuple(
        {
            "processes": [
                {
                    "spans_s": spans[m],
                    "slices": [per_turn[m]] * len(spans[m]),
                    "wall_s": turn_s * len(spans[m]),
                }
            ]
        }
        for m in (0, 1)
    )
    true_mj = tuple(1e3 * powers[m] * turn_s / per_turn[m] for m in (0, 1))
    return Board(times, watts, before, after, models, true_mj)


def shown(
    made: Board,
    random: np.random.Generator,
    lag_s: Callable[[np.ndarray], np.ndarray] = np.zeros_like,
    blur_s: float = 0.0,
) -> list[Sample]:
    """What a meter shows of a board: late, averaged, noisy, at its own uneven pace."""
    pace_s = float(random.choice(PACES_S))
    watts = made.watts
    if blur_s:
        total = np.concatenate([[0.0], np.cumsum(watts)])
        back = round(blur_s / FINE_S)
        index = np.arange(len(watts))
        first = np.maximum(index - back, 0)
        watts = (total[index + 1] - total[first]) / (index + 1 - first)
    when = np.arange(0.0, made.times[-1], pace_s)
    when = np.sort(when + random.normal(0, pace_s / 20, len(when)))
    seen = np.interp(when - lag_s(when), made.times, watts)
    noise = random.uniform(0.002, 0.03) * seen
    return [
        Sample(float(t), float(w))
        for t, w in zip(when, seen + random.normal(0, 1, len(when)) * noise, strict=True)
    ]


def judged(made: Board, samples: list[Sample], same_clock: bool) -> tuple[str, bool]:
    """What the energy code says: `refused`, `told` or `silent`; and whether its energies are right."""
    nothing = Measurement(Quantity(1.0, "ms", 1.0, 1.0, "measured", "clock"))
    metered = energy.Metered(samples, made.before, made.after, "meter", 0.02, same_clock)
    results = energy.added([nothing, nothing], made.models, metered)
    said = {("told" if r.energy_note else "silent") if r.energy_mj else "refused" for r in results}
    right = all(
        r.energy_mj is not None and r.energy_mj.low <= true <= r.energy_mj.high
        for r, true in zip(results, made.true_mj, strict=True)
    )
    return "refused" if "refused" in said else said.pop(), right


def trial(plant: str, seed: int) -> Trial:
    """Make up one board and one meter, and judge what is said of it."""
    random = np.random.default_rng([seed, *plant.encode()])
    made = board(random)
    if plant == "clean":
        said, right = judged(made, shown(made, random), same_clock=True)
        return Trial(plant, said, said == "silent" and right)
    if plant == "clean, averaging a little":
        said, right = judged(made, shown(made, random, blur_s=random.uniform(0.0, 0.3)), same_clock=True)
        return Trial(plant, said, said == "silent" and right)
    if plant == "clean, another clock":
        clock_s = random.uniform(-0.9, 0.9)
        said, right = judged(made, shown(made, random, lambda t: np.full_like(t, clock_s)), same_clock=False)
        return Trial(plant, said, said == "silent" and right)
    if plant == "lag":
        lag_s = random.uniform(0.25, 8.0)
        said, right = judged(made, shown(made, random, lambda t: np.full_like(t, lag_s)), same_clock=True)
        return Trial(plant, said, said == "refused" or (said == "told" and right))
    if plant == "smear":
        said, _ = judged(made, shown(made, random, blur_s=random.uniform(0.9, 6.0)), same_clock=True)
        return Trial(plant, said, said == "refused")
    if plant == "lag that grows":
        start_s, end_s = random.uniform(0.0, 0.5), random.uniform(0.8, 2.5)
        span_s = float(made.times[-1])
        said, _ = judged(
            made, shown(made, random, lambda t: start_s + (end_s - start_s) * t / span_s), same_clock=False
        )
        return Trial(plant, said, said == "refused")
    if plant == "another board's meter":
        idle_w = random.uniform(1.0, 4.0)
        flat = [Sample(s.t_s, idle_w + random.normal(0, 0.03)) for s in shown(made, random)]
        said, _ = judged(made, flat, same_clock=False)
        return Trial(plant, said, said == "refused")
    raise ValueError(plant)


PLANTS = ("lag", "smear", "lag that grows", "another board's meter")
CLEAN = ("clean", "clean, averaging a little", "clean, another clock")


def main(trials: int) -> int:
    """Print a line for each plant; 1 if one was missed, or over 2 % of good meters were not left alone."""
    missed = 0
    for plant in (*PLANTS, *CLEAN):
        done = [trial(plant, seed) for seed in range(trials)]
        right = sum(one.right for one in done)
        said = ", ".join(f"{n} {word}" for word, n in sorted(Counter(one.said for one in done).items()))
        print(f"{plant:<24} {right}/{trials} right   ({said})")
        missed += right < (trials if plant in PLANTS else 0.98 * trials)
    return int(missed > 0)


if __name__ == "__main__":
    sys.exit(main(int(sys.argv[1]) if len(sys.argv) > 1 else 50))
