"""From the on-board runner's answers to core types."""

from __future__ import annotations

import re
import statistics
from collections.abc import Mapping, Sequence
from dataclasses import replace
from itertools import accumulate, pairwise
from typing import Any

from edgeopt.boards import quiet, validity
from edgeopt.boards.intervals import median_interval, paired_ratio
from edgeopt.boards.quiet import Use
from edgeopt.core.errors import CandidateCrashed, CandidateFailed, CandidateHung, CandidateStarved
from edgeopt.core.measurement import Measurement
from edgeopt.core.measurement import Protocol as MeasuringProtocol
from edgeopt.core.quantity import Quantity

P95_SAMPLES = 130
"""So many bound a 95th percentile with 99 % confidence."""


FAILURES: dict[str, tuple[type[CandidateFailed], str]] = {
    "deadline": (CandidateHung, "took too long on the board and was killed"),
    "oom": (CandidateStarved, "ran out of memory on the board"),
    "crash": (CandidateCrashed, "crashed on the board"),
    "load": (CandidateFailed, "cannot be loaded on the board"),
    "run": (CandidateFailed, "cannot be run on the board"),
}
"""By the kind of error that the runner tells."""


def failure(error: Mapping[str, str]) -> CandidateFailed:
    """Why a model could not be measured."""
    found, reason = FAILURES.get(error["kind"], (CandidateFailed, error["kind"]))
    if error["kind"] == "deadline":
        return found(reason)
    # Of a runtime's message, what it says: not its class, its code, or where the file is on the board.
    said = re.sub(r"^\w+: (\[ONNXRuntimeError\] : \d+ : \w+ : )?", "", error["message"])
    said = " ".join(re.sub(r"See instructions: \S+", "", said).split())  # LiteRT's, over several lines
    said = re.sub(r"(Load model )?from /\S+/objects/[0-9a-f]{64} failed: ?", "", said)
    return found(f"{reason}: {said}")


def measurements(
    answer: Mapping[str, Any],
    protocol: MeasuringProtocol,
    cores: int,
    thresholds: validity.Thresholds = validity.Thresholds(),  # noqa: B008 - frozen
    expected: validity.Speed | None = None,
) -> list[Measurement | CandidateFailed]:
    """One result per model, in order; the first is the control.

    Args:
        answer: To `measure`.
        cores: Of the board, to which CPU time is related.
        thresholds: What makes a result invalid: its `validity` says why.
        expected: How fast the board spins when cool.
    """
    models, reasons = answer["models"], validity.of_board(answer["rounds"], expected, thresholds)
    uses = quiet.used(answer, protocol)
    results: list[Measurement | CandidateFailed] = []
    for model, use in zip(models, uses, strict=True):
        if model["error"]:
            results.append(failure(model["error"]))
            continue
        windows = [process["latencies_ms"] for process in use.processes]
        # One that was given up as hopeless is not what anybody will rely on.
        limits = thresholds.when_quiet() if use.is_quiet else thresholds
        own = [] if model["stopped_early"] else validity.of_windows(windows, limits)
        # One that was given up has all of its turns, and so has whom it is compared with.
        control = models[0]["processes"] if model["stopped_early"] else uses[0].processes
        ratio = 1.0 if model is models[0] else _control_ratio(use.processes, control)
        result = replace(_measurement(model, use, answer, protocol, cores), control_ratio=ratio)
        results.append(replace(result, validity="; ".join([*reasons, *own]) or None))
    return results


def _measurement(
    model: Mapping[str, Any],
    use: Use,
    answer: Mapping[str, Any],
    protocol: MeasuringProtocol,
    cores: int,
) -> Measurement:
    processes = model["processes"]
    looks = max(1, protocol.processes - 2) if protocol.enough_ci is not None else 1
    p50, low, high = median_interval([process["latencies_ms"] for process in use.processes], looks)
    peak_bytes = max(process["peak_rss_bytes"] for process in processes)
    runtime_bytes = model["runtime_rss_bytes"]
    wall_s = sum(process["wall_s"] for process in processes)
    before, after = answer["rounds"][0], answer["rounds"][-1]
    return Measurement(
        latency=Quantity(p50, "ms", low, high, "measured", "clock"),
        latencies_ms=tuple(latency for process in use.processes for latency in process["latencies_ms"]),
        process_p50_ms=tuple(statistics.median(process["latencies_ms"]) for process in use.processes),
        process_p95_ms=_p95s(use.processes),
        process_turns_ms=tuple(
            tuple(statistics.median(turn) for turn in _slices(process) if turn) for process in use.processes
        ),
        process_cold_start_ms=tuple(process["cold_start_ms"] for process in processes),
        process_peak_rss_bytes=tuple(process["peak_rss_bytes"] for process in processes),
        cold_start_ms=statistics.median(process["cold_start_ms"] for process in processes),
        load_ms=statistics.median(process["load_ms"] for process in processes),
        first_inference_ms=statistics.median(process["first_inference_ms"] for process in processes),
        peak_rss_bytes=peak_bytes,
        model_rss_bytes=None if runtime_bytes is None else max(0, peak_bytes - runtime_bytes),
        cpu_utilization=min(1.0, sum(p["cpu_s"] for p in processes) / (wall_s * cores)) if wall_s else None,
        temperature_start_c=before["temperature_c"],
        temperature_end_c=after["temperature_c"],
        clock_hz=after["clock_hz"],
        contended=use.contended,
        latency_note=use.note,
        throttled=validity.throttled(answer["rounds"]),
        stopped_early=model["stopped_early"],
        conditions=protocol.setting.name,
        protocol=protocol.name,
    )


def _p95s(processes: Sequence[Mapping[str, Any]]) -> tuple[float, ...]:
    """The 95th percentile of each process; none unless every process supports it."""
    if any(len(process["latencies_ms"]) < P95_SAMPLES for process in processes):
        return ()
    return tuple(
        sorted(process["latencies_ms"])[round(0.95 * (len(process["latencies_ms"]) - 1))]
        for process in processes
    )


def _control_ratio(
    processes: Sequence[Mapping[str, Any]], control: Sequence[Mapping[str, Any]]
) -> float | None:
    """Slices are paired within a process round: then both had the board in the same state."""
    rounds = zip(processes, control, strict=False)
    pairs = [pair for one, other in rounds for pair in zip(_slices(one), _slices(other), strict=False)]
    return paired_ratio([pair[0] for pair in pairs], [pair[1] for pair in pairs])


def _slices(process: Mapping[str, Any]) -> list[list[float]]:
    """The latencies of each turn; none of one that others do not have."""
    paired, ends = process.get("paired"), accumulate(process["slices"], initial=0)
    return [
        process["latencies_ms"][start:end] if paired is None or paired[at] else []
        for at, (start, end) in enumerate(pairwise(ends))
    ]
