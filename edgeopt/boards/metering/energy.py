"""Whose energy it is: the samples of a meter, divided among models that took turns.

A turn's power is the mean of the samples in its middle; where it meets its neighbours, a rest of lag cannot
tell them apart. The board is idle before the models and after them, which also gives the net energy.
"""

from __future__ import annotations

import math
import statistics
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from edgeopt.boards.intervals import t_quantile
from edgeopt.boards.metering.edges import Alignment, Array, Pattern, align
from edgeopt.boards.meters import EnergySource, Sample
from edgeopt.core.measurement import Measurement
from edgeopt.core.quantity import Quantity

LEAST_WINDOW_S = 10.0
LEAST_SAMPLES = 100
MAX_IDLE_DRIFT = 0.03
"""Between the idle power before and after the models, beyond what the noise of both explains."""
SETTLE_S = 0.5
"""After a load or a model, before idle is idle."""
REST_S = 0.05
"""Of a lag that was found and taken off, what may be left."""
LEAST_REPEATED = 3
"""Fewer turns, or processes, do not tell how far the next would differ."""
MAX_MISSING = 0.1
"""Share of a model's turns without a single sample."""


@dataclass(frozen=True, slots=True)
class Idle:
    """What a board draws without a model, and by how much that may be off."""

    power_w: float
    error_w: float


@dataclass(frozen=True, slots=True)
class Metered:
    """What a meter said while models took turns.

    Attributes:
        samples: On the meter's clock, which the patterns' clock may differ from by the lag.
        error_share: The meter's own, with 95 % confidence.
        same_clock: Whether the meter was read on the board itself, so that a lag is the meter's.
    """

    samples: Sequence[Sample]
    before: Pattern
    after: Pattern
    source: EnergySource
    error_share: float
    same_clock: bool


def added(
    results: Sequence[Measurement], models: Sequence[Mapping[str, Any]], metered: Metered
) -> list[Measurement]:
    """The measurements with energy and power; with `energy_note` where that cannot be said, or had to be put
    right.

    Args:
        models: What the runner answered for each: `processes` with `spans_s`, `slices` and `wall_s`.
    """
    alignment = align(metered.samples, metered.before, metered.after)
    if alignment.refused:
        return [replace(result, energy_note=alignment.refused) for result in results]
    times = np.array([sample.t_s for sample in metered.samples]) - alignment.lag_s
    watts = np.array([sample.power_w for sample in metered.samples])
    idle = _idle(times, watts, metered)
    if isinstance(idle, str):
        return [replace(result, energy_note=idle) for result in results]
    return [
        _of_model(result, model["processes"], times, watts, idle, metered, alignment)
        for result, model in zip(results, models, strict=True)
    ]


def _idle(times: Array, watts: Array, metered: Metered) -> Idle | str:
    """The idle power, or why there is none."""
    before, after = metered.before, metered.after
    parts = [
        watts[(times >= begin) & (times <= end)]
        for begin, end in (
            (before.begun_s + SETTLE_S, before.loads[0][0] - REST_S),
            (after.loads[-1][1] + SETTLE_S, after.ended_s),
        )
    ]
    if any(len(part) < 5 for part in parts):
        return "the meter gave too few samples while the board was idle"
    first, last = (float(part.mean()) for part in parts)
    noise_w = math.hypot(*(float(part.std(ddof=1)) / math.sqrt(len(part)) for part in parts))
    if abs(last - first) > MAX_IDLE_DRIFT * abs(first) + 2 * noise_w:
        return (
            f"the idle board drew {first:.3g} W before and {last:.3g} W after its models, more than "
            f"{MAX_IDLE_DRIFT:.0%} apart"
        )
    return Idle((first + last) / 2, abs(last - first) / 2 + 2 * noise_w)


def _of_model(
    result: Measurement,
    processes: Sequence[Mapping[str, Any]],
    times: Array,
    watts: Array,
    idle: Idle,
    metered: Metered,
    alignment: Alignment,
) -> Measurement:
    spans = [span for process in processes for span in process["spans_s"]]
    window_s = sum(end - begin for begin, end in spans)
    if window_s < LEAST_WINDOW_S - 1e-3:  # the sum of many turns, each rounded
        return replace(result, energy_note=too_short(window_s))
    within = sum(int(((times >= begin) & (times <= end)).sum()) for begin, end in spans)
    if within < LEAST_SAMPLES:
        return replace(
            result,
            energy_note=f"the meter gave {within} samples in {window_s:.0f} s, {LEAST_SAMPLES} are needed",
        )
    turns = [_turns(process, times, watts, alignment) for process in processes]
    powers_w = [power for process in turns for power, _ in process]
    if len(powers_w) < (1 - MAX_MISSING) * len(spans):
        return replace(
            result, energy_note=f"the meter fell silent in {len(spans) - len(powers_w)} of {len(spans)} turns"
        )
    power_w = _weighted(turns)
    inference_s = _inference_s(processes)
    sampling_w = _standard_error(turns)
    if sampling_w is None:
        return replace(result, energy_note=f"{len(powers_w)} turns do not tell how far their power differs")
    error_w = math.hypot(metered.error_share * power_w, sampling_w)
    net_w = power_w - idle.power_w
    net_error_w = math.hypot(metered.error_share * net_w, sampling_w, idle.error_w)

    def quantity(power: float, error: float, times_s: float = 1.0, unit: str = "W") -> Quantity:
        low, high = (power - error) * times_s, (power + error) * times_s
        return Quantity(power * times_s, unit, low, high, "measured", metered.source)

    def energy_mj(power: float, error: float) -> Quantity:
        # A power times a time, and the next process may take another time.
        error = math.hypot(error, power * result.latency.relative_error)
        return quantity(power, error, inference_s * 1e3, "mJ")

    each = tuple(
        _weighted([turn]) * _inference_s([process]) * 1e3 if turn else None
        for turn, process in zip(turns, processes, strict=True)
    )
    return replace(
        result,
        power_w=quantity(power_w, error_w),
        energy_mj=energy_mj(power_w, error_w),
        net_energy_mj=energy_mj(net_w, net_error_w),
        process_energy_mj=tuple(mj for mj in each if mj is not None) if None not in each else (),
        energy_note=_note(alignment, metered),
    )


def _turns(
    process: Mapping[str, Any], times: Array, watts: Array, alignment: Alignment
) -> list[tuple[float, float]]:
    """Mean power and length of each turn that has a sample in its middle."""
    found = []
    for begin, end in process["spans_s"]:
        # A meter that averages still shows the neighbour when a turn begins, and not any more when it ends.
        late_s, early_s = min(REST_S + alignment.blur_s, (end - begin) / 2), min(REST_S, (end - begin) / 4)
        inside = watts[(times >= begin + late_s) & (times <= end - early_s)]
        if len(inside):
            found.append((float(inside.mean()), end - begin))
    return found


def _weighted(turns: Sequence[Sequence[tuple[float, float]]]) -> float:
    """Mean power, every turn by its length."""
    flat = [turn for process in turns for turn in process]
    return sum(power * seconds for power, seconds in flat) / sum(seconds for _, seconds in flat)


def _inference_s(processes: Sequence[Mapping[str, Any]]) -> float:
    """How long an inference takes, with what lies between two."""
    seconds = sum(process["wall_s"] for process in processes)  # a turn's probes are none of it
    return float(seconds / sum(sum(process["slices"]) for process in processes))


def _standard_error(turns: Sequence[Sequence[tuple[float, float]]]) -> float | None:
    """Half the 95 % interval of the mean power, by process and turn; None where turns are too few to tell.

    Turns of one process are alike: where there are three processes or more, what differs between them counts
    if it is more.
    """
    levels = [[power for process in turns for power, _ in process]]
    levels.append([_weighted([process]) for process in turns if process])
    halves = [
        t_quantile(len(powers_w) - 1) * statistics.stdev(powers_w) / math.sqrt(len(powers_w))
        for powers_w in levels
        if len(powers_w) >= LEAST_REPEATED
    ]
    return max(halves, default=None)


def too_short(window_s: float) -> str:
    """Why a short window has no energy."""
    return f"a window of {window_s:.3g} s is too short for an energy, {LEAST_WINDOW_S:g} s are needed"


def _note(alignment: Alignment, metered: Metered) -> str | None:
    """A lag on one clock is the meter's own: it is told, though it was put right."""
    if metered.same_clock and abs(alignment.lag_s) > 3 * REST_S:
        return f"the meter lags by {alignment.lag_s:.2f} s, which was taken off"
    return None
