"""From a runner's answer to a measurement: what is not known stays unknown."""

from __future__ import annotations

from typing import Any

import pytest

from edgeopt.boards.answers import failure, measurements
from edgeopt.core.errors import CandidateFailed
from edgeopt.core.measurement import Measurement, Protocol
from tests.boards.test_validity import state

PROTOCOL = Protocol("screen", 1, 4, 1.0, 0.5, None, 60.0)


def process(latencies: list[float], **changes: Any) -> dict[str, Any]:
    return {
        "latencies_ms": latencies,
        "slices": [2, len(latencies) - 2],
        "cold_start_ms": 500.0,
        "load_ms": 20.0,
        "first_inference_ms": 3.0,
        "peak_rss_bytes": 90,
        "cpu_s": 1.0,
        "wall_s": 1.0,
    } | changes


def model(*processes: dict[str, Any], error: dict[str, str] | None = None) -> dict[str, Any]:
    return {
        "processes": list(processes),
        "stopped_early": False,
        "error": error,
        "runtime_rss_bytes": 60,
    }


def answer(*models: dict[str, Any], before: int | None = None, after: int | None = None) -> dict[str, Any]:
    return {
        "models": list(models),
        "rounds": [state(throttled_bits=before), state(throttled_bits=after)],
    }


def only(result: Measurement | CandidateFailed) -> Measurement:
    assert isinstance(result, Measurement)
    return result


def test_figures_of_several_processes_are_brought_together() -> None:
    processes = [process([1.0, 1.0, 1.0, 1.0], cold_start_ms=c, peak_rss_bytes=p) for c, p in
                 ((100.0, 80), (900.0, 95), (200.0, 90))]  # fmt: skip
    (result,) = measurements(answer(model(*processes)), PROTOCOL, cores=4)
    result = only(result)
    assert result.process_cold_start_ms == (100.0, 900.0, 200.0)
    assert result.cold_start_ms == 200.0
    assert result.peak_rss_bytes == 95
    assert result.model_rss_bytes == 35
    assert result.cpu_utilization == 0.25
    assert len(result.latencies_ms) == 12
    assert result.process_p95_ms == ()


def test_a_p95_needs_130_samples_in_every_process() -> None:
    enough, few = [float(n) for n in range(200)], [1.0] * 129
    (result,) = measurements(answer(model(process(enough), process(enough))), PROTOCOL, cores=1)
    assert only(result).process_p95_ms == (189.0, 189.0)
    (result,) = measurements(answer(model(process(enough), process(few))), PROTOCOL, cores=1)
    assert only(result).process_p95_ms == ()


def test_ratios_are_taken_slice_by_slice() -> None:
    control, other = process([1.0, 1.0, 2.0, 2.0]), process([3.0, 3.0, 6.0, 6.0])
    first, second = measurements(answer(model(control), model(other)), PROTOCOL, cores=1)
    assert only(first).control_ratio == 1.0
    assert only(second).control_ratio == 3.0


@pytest.mark.parametrize(
    ("before", "after", "throttled"),
    [
        (None, None, None),
        (0x0, None, None),
        (0x0, 0x0, False),
        (0x50000, 0x50000, False),  # it was, long ago
        (0x0, 0x40000, True),  # it was, meanwhile
        (0x4, 0x4, True),
    ],
)
def test_throttling(before: int | None, after: int | None, throttled: bool | None) -> None:
    whole = answer(model(process([1.0] * 4)), before=before, after=after)
    result = only(measurements(whole, PROTOCOL, cores=1)[0])
    assert result.throttled is throttled
    assert (result.validity is not None) is bool(throttled)


def test_a_runtimes_message_is_told_without_its_code_and_path() -> None:
    said = "InvalidProtobuf: [ONNXRuntimeError] : 7 : INVALID_PROTOBUF : Load model from /home/pi/.cache/" + (
        f"edgeopt/objects/{'a' * 64} failed:Protobuf parsing failed."
    )
    assert failure({"kind": "load", "message": said}).message == (
        "cannot be loaded on the board: Protobuf parsing failed."
    )
    assert failure({"kind": "oom", "message": "MemoryError: "}).message.startswith("ran out of memory")


def test_what_a_runtime_says_becomes_one_line() -> None:
    said = (
        "RuntimeError: Encountered unresolved custom op: X.\nSee instructions: https://tensorflow.org/lite "
        "Node number 0 (X) failed.\n"
    )
    assert failure({"kind": "load", "message": said}).message == (
        "cannot be loaded on the board: Encountered unresolved custom op: X. Node number 0 (X) failed."
    )
